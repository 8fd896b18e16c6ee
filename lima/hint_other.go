//go:build !darwin

package lima

const (
	installHint = "run this in a checkout of fuseless, which builds it, or install Lima from https://lima-vm.io"
	upgradeHint = "remove it, and run this in a checkout of fuseless, which builds its own, or install a newer Lima"
)
