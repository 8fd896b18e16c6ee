package templates

// Image is a disk image to make the VM of. Of several for one architecture,
// Lima takes the first that can be had.
type Image struct {
	Location string // URL, or absolute path on the host
	Arch     string // "amd64" or "arm64", or Lima's names; empty: the host's
	Digest   string // "sha512:…"; empty: not checked

	KernelLocation string // empty: the image boots by itself
	KernelDigest   string
	Cmdline        string // of the kernel
	InitrdLocation string
	InitrdDigest   string
}

// defaultImages are Debian 13's. It has gocryptfs 2.5.1; earlier releases can
// corrupt a backup in reverse mode (gocryptfs#802).
//
// The dated ones and their digests are from lima-vm/lima,
// templates/_images/debian-13.yaml at commit
// 3a305d2f6cd07fdfe9ed58a0dff70b43e2c2e6b0. Debian removes dated builds after
// some months; then Lima takes the latest release, which HTTPS alone vouches for.
var defaultImages = []Image{
	{
		Location: "https://cloud.debian.org/images/cloud/trixie/20260220-2394/debian-13-genericcloud-amd64-20260220-2394.qcow2",
		Arch:     "amd64",
		Digest:   "sha512:6da628d0f44ddcc8641d5ed1c7a1b4841ccf6608810a8f7aae860db51e9975e76b3c230728560337b615f8b610a34a760cf9d18e8ddb55c48608a06724ea0892",
	},
	{
		Location: "https://cloud.debian.org/images/cloud/trixie/20260220-2394/debian-13-genericcloud-arm64-20260220-2394.qcow2",
		Arch:     "arm64",
		Digest:   "sha512:a8d385547785558bbe51558f5ab01d051534758c8cb4e5fe79b95487c48045b5a851f683deac8897c2b28aece7619ac1377b677483ae1102c093abe9e9b6078f",
	},
	{Location: "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2", Arch: "amd64"},
	{Location: "https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-arm64.qcow2", Arch: "arm64"},
}

// limaArch is Lima's name for an architecture, or "".
func limaArch(arch string) string {
	switch arch {
	case "amd64", "x86_64":
		return "x86_64"
	case "arm64", "aarch64":
		return "aarch64"
	}
	return ""
}

// imagesFor are the images for the VM's architecture, with Lima's name of it.
func imagesFor(vm VM) []Image {
	want := limaArch(vm.Arch)
	var list []Image
	for _, i := range vm.Images {
		if i.Arch == "" || limaArch(i.Arch) == want {
			i.Arch = want
			list = append(list, i)
		}
	}
	return list
}
