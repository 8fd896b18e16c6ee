package guestbin

import (
	"encoding/base64"
	"testing"
)

// TestFitsIntoDescription: the description of a VM holds the guest binary, and Lima
// refuses one of more than 4 MiB (pkg/limatmpl, yBytesLimit). Scripts and the rest
// have some 20 KiB, and the lines of the binary 5.
func TestFitsIntoDescription(t *testing.T) {
	const limit = 4<<20 - 64<<10
	for _, arch := range Arches {
		packed, err := Packed(t.Context(), arch)
		if err != nil {
			t.Fatal(err)
		}
		n := base64.StdEncoding.EncodedLen(len(packed))
		t.Logf("%s: %d bytes, %d left", arch, n, 4<<20-n)
		if n > limit {
			t.Errorf("%s: packed and as text it has %d bytes, which leaves less than 64 KiB", arch, n)
		}
	}
}
