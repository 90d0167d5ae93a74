// Serves and asks by Go's net/http, and says what it did: per server a line of its name, then how many requests were
// answered 2xx, 3xx, 4xx, 5xx and not at all, and how many connections were upgraded. The client and the server count
// each for itself; where they differ, it fails.
//
// Arguments: the addresses of the client, the server, the proxy and the server behind it.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// How often each kind of request is made.
const times = 10

// Like a request, as a body.
const like = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Requests by class, and last the connections that were upgraded.
type tally struct {
	sync.Mutex
	counts [6]int
}

const none, upgraded = 4, 5

func (t *tally) add(place int) {
	t.Lock()
	defer t.Unlock()
	t.counts[place]++
}

func (t *tally) status(status int) {
	if status == http.StatusSwitchingProtocols {
		t.add(upgraded)
	} else {
		t.add(status/100 - 2)
	}
}

// Counts what is answered. It passes on all that the writer can do, since io.Copy to it asks for sendfile by that.
type counting struct {
	http.ResponseWriter
	tally *tally
	told  bool
}

func (c *counting) WriteHeader(status int) {
	if !c.told {
		c.told = true
		c.tally.status(status)
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counting) Write(bytes []byte) (int, error) {
	if !c.told {
		c.WriteHeader(http.StatusOK)
	}
	return c.ResponseWriter.Write(bytes)
}

func (c *counting) ReadFrom(from io.Reader) (int64, error) {
	return c.ResponseWriter.(io.ReaderFrom).ReadFrom(from)
}

func (c *counting) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// A proxy writes the 101 by itself.
func (c *counting) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !c.told {
		c.told = true
		c.tally.add(upgraded)
	}
	return c.ResponseWriter.(http.Hijacker).Hijack()
}

func counted(handler http.Handler, tally *tally) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, asked *http.Request) {
		writer := &counting{answer, tally, false}
		defer func() {
			if recovered := recover(); recovered != nil {
				tally.add(none)
				panic(recovered)
			}
			if !writer.told {
				tally.status(http.StatusOK)
			}
		}()
		handler.ServeHTTP(writer, asked)
	})
}

func pages(folder string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/text", func(answer http.ResponseWriter, asked *http.Request) {
		io.Copy(io.Discard, asked.Body)
		io.WriteString(answer, "some text")
	})
	mux.HandleFunc("/chunks", func(answer http.ResponseWriter, asked *http.Request) {
		body, err := io.ReadAll(asked.Body)
		must(err)
		for i := 0; i < 3; i++ {
			fmt.Fprintf(answer, "%s%s", like, body)
			answer.(http.Flusher).Flush()
		}
		// Trailers.
		answer.Header().Set(http.TrailerPrefix+"Sum", "1")
	})
	mux.HandleFunc("/moved", func(answer http.ResponseWriter, asked *http.Request) {
		http.Redirect(answer, asked, "/text", http.StatusFound)
	})
	mux.HandleFunc("/broken", func(answer http.ResponseWriter, _ *http.Request) {
		http.Error(answer, "broken", http.StatusBadGateway)
	})
	mux.HandleFunc("/file", func(answer http.ResponseWriter, asked *http.Request) {
		http.ServeFile(answer, asked, filepath.Join(folder, "file"))
	})
	mux.HandleFunc("/aborted", func(_ http.ResponseWriter, asked *http.Request) {
		io.Copy(io.Discard, asked.Body)
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/chat", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Header().Set("Connection", "Upgrade")
		answer.Header().Set("Upgrade", "chat")
		answer.WriteHeader(http.StatusSwitchingProtocols)
		connection, buffered, err := answer.(http.Hijacker).Hijack()
		must(err)
		defer connection.Close()
		for i := 0; i < 3; i++ {
			_, err = io.ReadFull(buffered, make([]byte, len(like)))
			must(err)
			io.WriteString(connection, "HTTP/1.1 200 OK\r\n\r\n")
		}
	})
	return mux
}

func serve(address string, handler http.Handler, tally *tally) *url.URL {
	listener, err := net.Listen("tcp", address+":0")
	must(err)
	server := &http.Server{Handler: counted(handler, tally)}
	go server.Serve(listener)
	return &url.URL{Scheme: "http", Host: listener.Addr().String()}
}

func transport(from string) *http.Transport {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return &http.Transport{DialContext: dialer.DialContext, ExpectContinueTimeout: time.Minute}
}

type client struct {
	http.Client
	tally tally
}

func newClient(transport *http.Transport) *client {
	asks := &client{Client: http.Client{Transport: transport}}
	asks.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return asks
}

func (c *client) ask(method string, url string, body io.Reader, headers ...string) {
	request, err := http.NewRequest(method, url, body)
	must(err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := c.Do(request)
	if err != nil {
		c.tally.add(none)
		return
	}
	_, err = io.Copy(io.Discard, answer.Body)
	must(err)
	answer.Body.Close()
	c.tally.status(answer.StatusCode)
}

// A body whose length is not known.
func chunks() io.Reader { return io.MultiReader(strings.NewReader(like), strings.NewReader("more")) }

func (c *client) askAll(base string) {
	large := bytes.Repeat([]byte("x"), 300_000)
	for i := 0; i < times; i++ {
		c.ask("GET", base+"/text", nil)
		c.ask("HEAD", base+"/text", nil)
		c.ask("GET", base+"/none", nil)
		c.ask("GET", base+"/moved", nil)
		c.ask("DELETE", base+"/broken", nil)
		c.ask("POST", base+"/chunks", chunks())
		c.ask("PUT", base+"/chunks", bytes.NewReader([]byte(like)))
		c.ask("POST", base+"/text", bytes.NewReader(large))
		c.ask("PUT", base+"/text", bytes.NewReader(large), "Expect", "100-continue")
		c.ask("GET", base+"/file", nil)
		c.ask("GET", base+"/file", nil, "Range", "bytes=1000-250000")
		c.ask("GET", base+"/file", nil, "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")
		c.ask("GET", base+"/file", nil, "Range", "bytes=900000-")
	}
}

// A connection that goes on in another protocol.
func (c *client) chat(base string) {
	request, err := http.NewRequest("GET", base+"/chat", nil)
	must(err)
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "chat")
	answer, err := c.Do(request)
	must(err)
	c.tally.status(answer.StatusCode)
	both := answer.Body.(io.ReadWriteCloser)
	for i := 0; i < 3; i++ {
		_, err = io.WriteString(both, like)
		must(err)
		_, err = io.ReadFull(both, make([]byte, len("HTTP/1.1 200 OK\r\n\r\n")))
		must(err)
	}
	both.Close()
}

func report(name string, asked, served *tally) {
	if asked.counts != served.counts {
		panic(fmt.Sprintf("%s: the client has %v, the server %v", name, asked.counts, served.counts))
	}
	fmt.Println(name, strings.Trim(fmt.Sprint(served.counts), "[]"))
}

func main() {
	from, to, by, beyond := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	folder, err := os.MkdirTemp("", "peers")
	must(err)
	defer os.RemoveAll(folder)
	must(os.WriteFile(filepath.Join(folder, "file"), bytes.Repeat([]byte("y"), 300_000), 0o644))

	var served, proxied, passed tally
	direct := serve(to, pages(folder), &served)
	behind := serve(beyond, pages(folder), &passed)
	proxy := httputil.NewSingleHostReverseProxy(behind)
	proxy.Transport = transport(by)
	front := serve(by, proxy, &proxied)

	asks := newClient(transport(from))
	asks.askAll(direct.String())
	for i := 0; i < times; i++ {
		asks.ask("POST", direct.String()+"/aborted", chunks())
	}
	asks.chat(direct.String())
	asks.CloseIdleConnections()
	// A connection for each request.
	single := transport(from)
	single.DisableKeepAlives = true
	asks.Transport = single
	asks.askAll(direct.String())
	// Several that share few connections.
	shared := transport(from)
	shared.MaxConnsPerHost = 2
	asks.Transport = shared
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			asks.askAll(direct.String())
		}()
	}
	all.Wait()
	asks.CloseIdleConnections()
	through := newClient(transport(from))
	through.askAll(front.String())
	through.chat(front.String())
	through.CloseIdleConnections()
	proxy.Transport.(*http.Transport).CloseIdleConnections()
	report("direct", &asks.tally, &served)
	report("front", &through.tally, &proxied)
	report("behind", &proxied, &passed)
}
