// Serves and asks over plain connections by x/net/http2 and by grpc-go, and says what it did: first a line of HTTP/2 as
// peers.go has them, then one per status of gRPC. The client and the server count each for itself; where they differ, it
// fails.
//
// Arguments: the addresses of the client, of HTTP/2's server and of gRPC's.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
)

// How often each kind of request is made, by each of several at once.
const times, atOnce = 10, 4

func must(err error) {
	if err != nil {
		panic(err)
	}
}

type tally struct {
	sync.Mutex
	counts map[string]int
}

func (t *tally) add(what string) {
	t.Lock()
	defer t.Unlock()
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[what]++
}

func (t *tally) sum() (sum int) {
	t.Lock()
	defer t.Unlock()
	for _, count := range t.counts {
		sum += count
	}
	return
}

func (t *tally) agrees(served *tally) {
	if !reflect.DeepEqual(t.counts, served.counts) {
		panic(fmt.Sprintf("the client has %v, the server %v", t.counts, served.counts))
	}
}

func class(status int) string { return fmt.Sprintf("%dxx", status/100) }

func listen(address string) net.Listener {
	listener, err := net.Listen("tcp", address+":0")
	must(err)
	return listener
}

func dialer(from string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
}

func together(ask func()) {
	var all sync.WaitGroup
	for i := 0; i < atOnce; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			ask()
		}()
	}
	all.Wait()
}

func overHTTP2(from, to string) {
	var asked, served tally
	large := bytes.Repeat([]byte("x"), 300_000)
	pages := http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		must(err)
		code := map[string]int{"/none": 404, "/broken": 503, "/moved": 302, "/empty": 204}[request.URL.Path]
		if code == 0 {
			code = 200
		}
		served.add(class(code))
		// Long and new each time, so that the tables of headers fill up.
		answer.Header().Set("Trace", fmt.Sprintf("%0200d", len(body)))
		answer.WriteHeader(code)
		if code == 200 {
			answer.Write(body)
			answer.(http.Flusher).Flush()
			answer.Write(large)
		}
	})
	listener := listen(to)
	go http.Serve(listener, h2c.NewHandler(pages, &http2.Server{}))
	transport := &http2.Transport{
		AllowHTTP: true,
		DialTLS: func(network, address string, _ *tls.Config) (net.Conn, error) {
			return dialer(from).Dial(network, address)
		},
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	together(func() {
		for i := 0; i < times; i++ {
			for _, line := range []string{"GET /", "HEAD /", "GET /none", "PUT /broken", "GET /moved", "DELETE /empty", "POST /"} {
				method, path, _ := strings.Cut(line, " ")
				var body io.Reader
				if method[0] == 'P' {
					body = bytes.NewReader(large)
				}
				request, err := http.NewRequest(method, "http://"+listener.Addr().String()+path, body)
				must(err)
				answer, err := client.Do(request)
				must(err)
				_, err = io.Copy(io.Discard, answer.Body)
				must(err)
				answer.Body.Close()
				asked.add(class(answer.StatusCode))
			}
		}
	})
	transport.CloseIdleConnections()
	asked.agrees(&served)
	fmt.Println("http2", served.counts["2xx"], served.counts["3xx"], served.counts["4xx"], served.counts["5xx"], 0, 0)
}

// Messages are bytes.
type plain struct{}

func (plain) Name() string                              { return "plain" }
func (plain) Marshal(value interface{}) ([]byte, error) { return *value.(*[]byte), nil }
func (plain) Unmarshal(bytes []byte, value interface{}) error {
	*value.(*[]byte) = append([]byte{}, bytes...)
	return nil
}

// A call's first message is the status to end with; each is sent back.
func handle(served *tally) grpc.StreamHandler {
	return func(_ interface{}, stream grpc.ServerStream) error {
		for code := codes.OK; ; {
			var message []byte
			if err := stream.RecvMsg(&message); err == io.EOF {
				served.add(code.String())
				return status.Error(code, "as was wished")
			} else if err != nil {
				served.add(status.Code(err).String())
				return err
			}
			if len(message) == 1 {
				if code = codes.Code(message[0]); code != codes.OK {
					continue
				}
			}
			must(stream.SendMsg(&message))
		}
	}
}

func overGRPC(from, to string) {
	encoding.RegisterCodec(plain{})
	var asked, served tally
	listener := listen(to)
	server := grpc.NewServer(grpc.UnknownServiceHandler(handle(&served)))
	go server.Serve(listener)
	connection, err := grpc.Dial(listener.Addr().String(), grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithDefaultCallOptions(grpc.CallContentSubtype("plain")),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer(from).DialContext(ctx, "tcp", address)
		}))
	must(err)
	large := bytes.Repeat([]byte("x"), 300_000)
	together(func() {
		for i := 0; i < times; i++ {
			for code := codes.OK; code <= codes.Unauthenticated; code++ {
				var answer []byte
				err := connection.Invoke(context.Background(), "/peers.Echo/Say", &[]byte{byte(code)}, &answer)
				asked.add(status.Code(err).String())
			}
			// Messages in both directions, and one that is given up by its client.
			for _, isGivenUp := range []bool{false, true} {
				ctx, giveUp := context.WithCancel(context.Background())
				stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/peers.Echo/Talk")
				must(err)
				for j := 0; j < 5; j++ {
					var answer []byte
					must(stream.SendMsg(&large))
					must(stream.RecvMsg(&answer))
				}
				if isGivenUp {
					giveUp()
				} else {
					must(stream.CloseSend())
				}
				var end []byte
				if err = stream.RecvMsg(&end); err == io.EOF {
					err = nil
				}
				asked.add(status.Code(err).String())
				giveUp()
			}
		}
	})
	// The server learns of what was given up in its own time; a connection that ended before would tell it otherwise.
	for served.sum() < asked.sum() {
		time.Sleep(time.Millisecond)
	}
	connection.Close()
	server.GracefulStop()
	asked.agrees(&served)
	for name, count := range served.counts {
		fmt.Println("grpc", name, count)
	}
}

func main() {
	from := os.Args[1]
	overHTTP2(from, os.Args[2])
	overGRPC(from, os.Args[3])
}
