//go:build linux

package mounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// provisioned is there in a virtual machine of ours alone, where the user may
// become root without a question.
const provisioned = "/run/fuseless/provision.done"

// SetReadAhead sets how far the kernel reads ahead in the files of the FUSE mount at
// path, in KiB, which is otherwise at most what the mount's process asks for, and
// never more than 128 (fs/fuse/inode.c, process_init_reply): over a long link that
// is a few packets for each round trip. Only root may (sysfs-class-bdi); for
// somebody else it fails with fs.ErrPermission. The mount must have answered
// once, since its beginning sets the value, too.
func SetReadAhead(ctx context.Context, path string, kib int) error {
	m, err := Find(path)
	if err != nil {
		return err
	}
	if m == nil {
		return proto.Errorf(proto.Mount, "nothing is mounted on %s", path)
	}
	file := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", m.Major, m.Minor)
	err = os.WriteFile(file, []byte(strconv.Itoa(kib)), 0)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if _, serr := os.Stat(provisioned); serr != nil {
		return err
	}
	if rerr := proc.Run(ctx, proc.Cmd{Argv: []string{"sudo", "-n", "tee", file}, Stdin: strings.NewReader(strconv.Itoa(kib))}); rerr != nil {
		return errors.Join(err, rerr)
	}
	return nil
}
