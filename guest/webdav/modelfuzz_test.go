package webdav

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Seeds are sequences in words: "METHOD path variant flags, if token tag, http etag", where all
// after the path are numbers that may be left out (see modelRequest).
type seedStep struct {
	method     string
	path       string
	variant    byte
	flags      byte
	ifs, token byte
	tag        string
	http, etag byte
}

func seed(steps ...seedStep) (b []byte) {
	index := func(all []string, s string) byte {
		i := slices.Index(all, s)
		if i < 0 {
			panic(s)
		}
		return byte(i)
	}
	for _, s := range steps {
		b = append(b, index(modelMethods, s.method), index(modelPaths, s.path), s.variant, s.flags,
			s.ifs, s.token, index(modelPaths, s.tag), s.http, s.etag)
	}
	return b
}

// to is the variant by which COPY and MOVE have their destination.
func to(path string) byte { return byte(slices.Index(modelPaths, path)) }

const ( // see modelRequest and conditions
	depth0, depthInfinity      = 1, 2
	overwriteF                 = 2 << 3
	sharedLock                 = 1 << 5
	withAll, withOne           = 1, 14
	notHere                    = 11 // an ETag and Not a token, of something else
	ifMatch, ifNone, ifNoneAny = 1, 4, 5
	since                      = 7
	weakETag, oldETag          = 1, 2
)

var modelSeeds = [][]byte{
	seed(seedStep{method: "PUT", path: "a"}, seedStep{method: "PUT", path: "a"}, seedStep{method: "PUT", path: "a", http: ifMatch, etag: oldETag},
		seedStep{method: "PUT", path: "a", http: ifMatch}, seedStep{method: "PUT", path: "a", http: ifNoneAny}, seedStep{method: "GET", path: "a"}),
	seed(seedStep{method: "MKCOL", path: "d"}, seedStep{method: "PUT", path: "d/a"}, seedStep{method: "MKCOL", path: "d/e"}, seedStep{method: "LOCK", path: "d/e"},
		seedStep{method: "DELETE", path: "d"}, seedStep{method: "MOVE", path: "d", variant: to("e")}, seedStep{method: "MOVE", path: "d", variant: to("e"), ifs: withAll},
		seedStep{method: "PUT", path: "e/a"}),
	seed(seedStep{method: "PUT", path: "a"}, seedStep{method: "PUT", path: "b"}, seedStep{method: "COPY", path: "a", variant: to("b"), flags: overwriteF},
		seedStep{method: "MOVE", path: "a", variant: to("b"), flags: overwriteF}, seedStep{method: "COPY", path: "a", variant: to("b")}, seedStep{method: "MOVE", path: "a", variant: to("b")}),
	seed(seedStep{method: "PUT", path: nfc}, seedStep{method: "PUT", path: nfd}, seedStep{method: "LOCK", path: nfd}, seedStep{method: "DELETE", path: nfc},
		seedStep{method: "MOVE", path: nfd, variant: to("d"), ifs: withAll}, seedStep{method: "MKCOL", path: nfd}, seedStep{method: "PUT", path: nfc + "/a"}),
	seed(seedStep{method: "MKCOL", path: "d"}, seedStep{method: "LOCK", path: "d", flags: sharedLock}, seedStep{method: "LOCK", path: "d", flags: sharedLock | depth0},
		seedStep{method: "PUT", path: "d/a", ifs: withOne, token: 1}, seedStep{method: "PUT", path: "d/a", ifs: withOne}, seedStep{method: "LOCK", path: "d/a"},
		seedStep{method: "REFRESH", path: "d", variant: 1, token: 1}, seedStep{method: "PASS"}, seedStep{method: "UNLOCK", path: "d"}, seedStep{method: "UNLOCK", path: "d", token: 8}),
	seed(seedStep{method: "PROPPATCH", path: "", variant: 10}, seedStep{method: "PUT", path: "a"}, seedStep{method: "PROPPATCH", path: "a", variant: 2}, seedStep{method: "PUT", path: "a"},
		seedStep{method: "COPY", path: "a", variant: to("b")}, seedStep{method: "PROPPATCH", path: "a", variant: 4}, seedStep{method: "PROPPATCH", path: "b", variant: 1},
		seedStep{method: "PROPPATCH", path: "b", variant: 8}, seedStep{method: "MOVE", path: "b", variant: to("a")}, seedStep{method: "PROPFIND", path: "a", flags: depth0}),
	seed(seedStep{method: "PUT", path: "a"}, seedStep{method: "PUT", path: "a"}, seedStep{method: "PUT", path: "b"}, seedStep{method: "PUT", path: "b"},
		seedStep{method: "MOVE", path: "b", variant: to("a")}),
	seed(seedStep{method: "MKCOL", path: "d"}, seedStep{method: "MKCOL", path: "d/e"}, seedStep{method: "PUT", path: "d/e/a"}, seedStep{method: "LOCK", path: "d/e", flags: sharedLock},
		seedStep{method: "LOCK", path: "d/e", flags: sharedLock | depth0}, seedStep{method: "DELETE", path: "d", ifs: withOne, token: 1}),
	seed(seedStep{method: "MKCOL", path: "d"}, seedStep{method: "LOCK", path: "d/a"}, seedStep{method: "PROPPATCH", path: "d", variant: 2}, seedStep{method: "COPY", path: "d", variant: to("e"), flags: depth0},
		seedStep{method: "COPY", path: "e", variant: to("d"), ifs: withAll}, seedStep{method: "PUT", path: "d/a"}, seedStep{method: "LOCK", path: "d/a"}, seedStep{method: "DELETE", path: "d/a", ifs: withAll},
		seedStep{method: "PUT", path: "d/a"}),
	seed(seedStep{method: "PUT", path: "a"}, seedStep{method: "PUT", path: "a", http: ifNone, etag: weakETag}, seedStep{method: "PUT", path: "a", http: ifMatch, etag: weakETag},
		seedStep{method: "GET", path: "a", http: ifNone, etag: weakETag}, seedStep{method: "PUT", path: "a", http: ifNone}, seedStep{method: "PUT", path: "a", http: since},
		seedStep{method: "DELETE", path: "a", http: since, etag: 1}, seedStep{method: "PUT", path: "a", variant: 4, flags: 64}, seedStep{method: "PUT", path: "b", variant: 6 << 5}),
	seed(seedStep{method: "MKCOL", path: "d"}, seedStep{method: "PUT", path: "d/a"}, seedStep{method: "PUT", path: "a"}, seedStep{method: "LOCK", path: "d", flags: depth0}, seedStep{method: "PUT", path: "d/a"},
		seedStep{method: "PUT", path: "d/x y%z"}, seedStep{method: "MKCOL", path: "d/e"}, seedStep{method: "LOCK", path: "d/e"}, seedStep{method: "COPY", path: "a", variant: to("d/e")}, seedStep{method: "MOVE", path: "a", variant: to("d/e")},
		seedStep{method: "MOVE", path: "d/a", variant: to("b")}, seedStep{method: "DELETE", path: "d/a"}, seedStep{method: "COPY", path: "a", variant: to("d/a")}, seedStep{method: "DELETE", path: "d"},
		seedStep{method: "MOVE", path: "d/a", variant: to("d/e"), ifs: withOne}),
	seed(seedStep{method: "LOCK", path: "a", variant: 1}, seedStep{method: "PASS"}, seedStep{method: "UNLOCK", path: "a"}, seedStep{method: "LOCK", path: "a", variant: 1}, seedStep{method: "PASS"},
		seedStep{method: "REFRESH", path: "a", token: 1}, seedStep{method: "LOCK", path: "a"}),
	seed(seedStep{method: "PUT", path: "a"}, seedStep{method: "PUT", path: "b"}, seedStep{method: "LOCK", path: "b"}, seedStep{method: "COPY", path: "a", variant: to("b")}, seedStep{method: "MOVE", path: "a", variant: to("b")},
		seedStep{method: "PROPPATCH", path: "b", variant: 2}, seedStep{method: "PUT", path: "b"}, seedStep{method: "MOVE", path: "b", variant: to("x y%z")}, seedStep{method: "DELETE", path: "b"},
		seedStep{method: "LOCK", path: "b", flags: sharedLock}, seedStep{method: "COPY", path: "a", variant: to("b"), ifs: withOne}, seedStep{method: "PUT", path: "b"}),
	seed(seedStep{method: "MKCOL", path: "d"}, seedStep{method: "PUT", path: "d/a"}, seedStep{method: "PUT", path: "b"}, seedStep{method: "LOCK", path: "d"}, seedStep{method: "LOCK", path: "b"},
		seedStep{method: "PUT", path: "b", ifs: notHere, token: 1, tag: "d/a"}, seedStep{method: "PUT", path: "d/a", ifs: notHere, token: 9, tag: "b"}, seedStep{method: "MOVE", path: "d/a", variant: to("b"), ifs: withAll}),
	seed(seedStep{method: "MKCOL", path: "d"}, seedStep{method: "LOCK", path: "d/a"}, seedStep{method: "MKCOL", path: "e"}, seedStep{method: "PUT", path: "e/a"},
		seedStep{method: "MOVE", path: "e", variant: to("d"), ifs: withAll}, seedStep{method: "PUT", path: "d/a"}),
	seed(slices.Repeat([]seedStep{{method: "LOCK", path: "a", flags: sharedLock}}, modelSharedMax+1)...),
	seed(seedStep{method: "LOCK", path: "x y%z", variant: 2}, seedStep{method: "PUT", path: "x y%z"}, seedStep{method: "PUT", path: "x y%z", ifs: withAll}, seedStep{method: "PASS", variant: 2},
		seedStep{method: "DELETE", path: "x y%z", flags: depthInfinity}),
}

// FuzzMethods: whatever is asked for, in whatever order, what then is there is what the RFCs say.
func FuzzMethods(f *testing.F) {
	for _, s := range modelSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) { newModelled(t).run(b) })
}

var (
	modelSeed = flag.Uint64("model.seed", 0, "the first seed of TestMethods; 0: by the time")
	modelTime = flag.Duration("model.time", 4*time.Second, "for how long TestMethods makes sequences")
)

// TestMethods is the same with some seconds of random sequences. Each has a seed of its own, which
// is logged if it fails.
func TestMethods(t *testing.T) {
	first := *modelSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	n, steps := uint64(0), 0
	for end := time.Now().Add(*modelTime); time.Now().Before(end) && !t.Failed(); n++ {
		t.Run("", func(t *testing.T) {
			w := newModelled(t)
			defer func() {
				if t.Failed() {
					t.Logf("again: -run=TestMethods -model.seed=%d", first+n)
				}
			}()
			w.run(randomRequests(first + n))
			steps += w.m.step
		})
	}
	t.Logf("%d sequences of %d requests, the first with -model.seed=%d", n, steps, first)
}

// randomRequests are up to 48, about a few of the paths. They begin with something to work on.
func randomRequests(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := slices.Clone(modelSeeds[r.IntN(len(modelSeeds))])
	if r.IntN(2) == 0 {
		b = nil
	}
	var paths []byte
	for range 1 + r.IntN(5) {
		p := modelPaths[r.IntN(len(modelPaths))]
		paths = append(paths, to(p), to(above(p)))
	}
	for range 1 + r.IntN(48) {
		q := make([]byte, requestSize)
		for i := range q {
			q[i] = byte(r.Uint32())
		}
		q[1], q[6] = pick(paths, q[1]), pick(paths, q[6])
		if m := pick(modelMethods, q[0]); m == "COPY" || m == "MOVE" {
			q[2] = pick(paths, q[2])
		}
		if r.IntN(4) == 0 { // else, what is locked would hardly change any more
			q[4], q[7] = withAll, 0
		}
		b = append(b, q...)
	}
	return b
}
