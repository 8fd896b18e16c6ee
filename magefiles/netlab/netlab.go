// Package netlab emulates a long, thin or broken link on one machine: two
// network namespaces, guest and remote, that reach each other through two TUN
// devices and nothing else. This process carries the packets, with a delay, a
// rate, a queue and losses each way, and can cut the link. It does in user space
// what tc-netem(8) does where the kernel has it.
//
// The namespaces have no names: they are gone with this process and the
// processes that were started in them, whatever ends them, so a killed run
// leaves nothing to clean up.
package netlab

import "time"

// Link is what the emulated link is like.
type Link struct {
	// RTT is the round trip time of a packet that finds the link idle: half of
	// it is added each way.
	RTT time.Duration
	// Rate is bit/s each way, counted over whole IP packets. 0 means no limit.
	Rate int64
	// Queue is how many packets may be on their way in one direction, waiting
	// and travelling, like tc-netem's limit; what comes on top is dropped. 0
	// means 10,000.
	Queue int
	// Loss is the share, from 0 to 1, of packets that is dropped at random, each
	// way.
	Loss float64
}

// defaultQueue is ten times tc-netem's: at 200 Mbit/s and 100 ms, 1,667 packets
// are on their way without any waiting.
const defaultQueue = 10_000

// Counters are what arrived over a link since New, in bytes of IP packets.
type Counters struct {
	ToRemote int64
	ToGuest  int64
}
