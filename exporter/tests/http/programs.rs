//! Servers and clients of other languages, by what each says that it did.

use crate::common::{can_load, loopback};
use crate::{agent, check, output};

/// Serves and asks over kept connections: 10 times plain, 10 times with a body in chunks, 10 times with leave to send
/// one, and 10 times what is not there. Arguments: the client's address, the server's.
const NODE: &str = r#"
const http = require('http');
const [from, to] = process.argv.slice(1);
const server = http.createServer((asked, answer) => {
  asked.on('data', () => {}).on('end', () => {
    if (asked.url === '/none') { answer.writeHead(404); return answer.end(); }
    if (asked.url === '/hints') answer.writeEarlyHints({ link: '</a.css>; rel=preload' });
    answer.write('some'); answer.end(' text');
  });
});
const ask = (agent, port, method, path, headers, body) => new Promise((resolve, reject) => {
  const request = http.request({ agent, host: to, port, localAddress: from, method, path, headers }, answer => {
    answer.on('data', () => {}).on('end', resolve);
  });
  request.on('error', reject);
  if (headers.Expect) { request.on('continue', () => request.end(body)); request.flushHeaders(); }
  else if (body) { request.write(body); setImmediate(() => request.end(body)); }
  else request.end();
});
server.listen(0, to, async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 }), { port } = server.address();
  for (let number = 0; number < 10; number++) {
    await ask(agent, port, 'GET', '/hints', {});
    await ask(agent, port, 'POST', '/', {}, 'GET / HTTP/1.1\r\n\r\n');
    await ask(agent, port, 'PUT', '/', { Expect: '100-continue', 'Content-Length': 4 }, 'body');
    await ask(agent, port, 'HEAD', '/none', {});
  }
  agent.destroy(); server.close();
});
"#;

/// The same.
const PYTHON: &str = r#"
import http.client, http.server, sys, threading
start, to = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while int(self.rfile.readline(), 16): self.rfile.readline(); self.rfile.readline()
            self.rfile.readline()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command != "HEAD":
            for part in (b"4\r\n", b"text", b"\r\n0\r\n\r\n"): self.wfile.write(part)
    do_POST = do_PUT = do_HEAD = do_GET
server = http.server.ThreadingHTTPServer((to, 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
client = http.client.HTTPConnection(to, server.server_address[1], source_address=(start, 0))
def ask(method, path, body=None, headers={}, chunked=False):
    client.request(method, path, body, headers, encode_chunked=chunked)
    client.getresponse().read()
for _ in range(10):
    ask("GET", "/")
    ask("POST", "/", iter([b"\n", b"\n"]), {"Transfer-Encoding": "chunked"}, True)
    ask("PUT", "/", b"body")
    ask("HEAD", "/none")
client.close()
server.shutdown()
"#;

#[test]
fn programs_of_other_languages_count_exactly() {
    if !can_load() {
        return;
    }
    let agent = agent(77, &["by-node", "by-python"]);
    let [from, node, python] = [1, 2, 3].map(|host| loopback(77, host).to_string());
    output("node", &["-e", NODE, &from, &node]);
    output("python3", &["-c", PYTHON, &from, &python]);
    for server in ["by-node", "by-python"] {
        check(&agent, server, [30.0, 0.0, 10.0, 0.0, 0.0]);
    }
}
