package hostmount

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOpenFolder(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	script := "#!/bin/sh\nprintf %s \"$1\" > " + filepath.Join(bin, "got") + "\n"
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	if opened, err := OpenFolder(t.Context(), dir); opened || err != nil {
		t.Errorf("without a screen: %v, %v", opened, err)
	}
	t.Setenv("WAYLAND_DISPLAY", "wayland-0")
	if opened, err := OpenFolder(t.Context(), dir); !opened || err != nil {
		t.Errorf("with a screen: %v, %v", opened, err)
	}
	if got, _ := os.ReadFile(filepath.Join(bin, "got")); string(got) != dir {
		t.Errorf("opened %q", got)
	}
}
