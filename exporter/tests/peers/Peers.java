import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicIntegerArray;

/**
 * Serves by com.sun.net.httpserver and asks by java.net.http.HttpClient, with and without its wish for HTTP/2, and by
 * HttpURLConnection. Says what it did as peers.go does.
 *
 * Argument: the address of the server.
 */
public class Peers {
    static final int TIMES = 10;
    static final int NONE = 4;
    /** Like a request, as a body. */
    static final byte[] LIKE = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".getBytes(StandardCharsets.US_ASCII);
    static final byte[] LARGE = new byte[300_000];

    static final AtomicIntegerArray served = new AtomicIntegerArray(6);
    static final AtomicIntegerArray asked = new AtomicIntegerArray(6);

    static void answer(HttpExchange exchange, int status, byte[] body, boolean inChunks) throws IOException {
        exchange.getRequestBody().readAllBytes();
        served.incrementAndGet(status / 100 - 2);
        boolean hasBody = body.length > 0 && !exchange.getRequestMethod().equals("HEAD");
        exchange.sendResponseHeaders(status, !hasBody ? -1 : inChunks ? 0 : body.length);
        if (hasBody) {
            OutputStream out = exchange.getResponseBody();
            for (int i = 0; i < (inChunks ? 3 : 1); i++) {
                out.write(body);
                out.flush();
            }
        }
        exchange.close();
    }

    static String serve(String address) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getByName(address), 0), 0);
        server.setExecutor(Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        }));
        server.createContext("/text", exchange -> answer(exchange, 200, "some text".getBytes(), false));
        server.createContext("/large", exchange -> answer(exchange, 200, LARGE, false));
        server.createContext("/chunks", exchange -> answer(exchange, 201, LIKE, true));
        server.createContext("/empty", exchange -> answer(exchange, 204, new byte[0], false));
        server.createContext("/none", exchange -> answer(exchange, 404, new byte[0], false));
        server.createContext("/broken", exchange -> answer(exchange, 503, LIKE, false));
        server.createContext("/moved", exchange -> {
            exchange.getResponseHeaders().set("Location", "/text");
            answer(exchange, 302, new byte[0], false);
        });
        server.createContext("/aborted", exchange -> {
            exchange.getRequestBody().readAllBytes();
            served.incrementAndGet(NONE);
            exchange.close();
        });
        server.start();
        return "http://" + address + ":" + server.getAddress().getPort();
    }

    static HttpRequest.Builder request(String base, String path) {
        return HttpRequest.newBuilder(URI.create(base + path));
    }

    static InputStream stream() {
        return new ByteArrayInputStream(LIKE);
    }

    static HttpRequest[] requests(String base) {
        return new HttpRequest[] {
            request(base, "/text").build(),
            request(base, "/text").method("HEAD", BodyPublishers.noBody()).build(),
            request(base, "/large").build(),
            request(base, "/none").build(),
            request(base, "/moved").build(),
            request(base, "/empty").DELETE().build(),
            request(base, "/broken").PUT(BodyPublishers.ofByteArray(LIKE)).build(),
            request(base, "/chunks").POST(BodyPublishers.ofInputStream(Peers::stream)).build(),
            request(base, "/text").POST(BodyPublishers.ofByteArray(LARGE)).build(),
            request(base, "/text").PUT(BodyPublishers.ofByteArray(LARGE)).expectContinue(true).build(),
        };
    }

    static void askAll(HttpClient client, String base) throws Exception {
        for (int i = 0; i < TIMES; i++) {
            for (HttpRequest request : requests(base)) {
                asked.incrementAndGet(client.send(request, BodyHandlers.ofByteArray()).statusCode() / 100 - 2);
            }
        }
    }

    static void askAtOnce(HttpClient client, String base) {
        var all = new ArrayList<CompletableFuture<Void>>();
        for (int i = 0; i < TIMES; i++) {
            for (HttpRequest request : requests(base)) {
                all.add(client.sendAsync(request, BodyHandlers.ofByteArray())
                    .thenAccept(answer -> asked.incrementAndGet(answer.statusCode() / 100 - 2)));
            }
        }
        all.forEach(CompletableFuture::join);
    }

    /** An answer whose body is read to its end leaves the connection for the next request. */
    static void askByUrl(String base) throws IOException {
        for (int i = 0; i < TIMES; i++) {
            for (String path : new String[] {"/text", "/large", "/chunks", "/none", "/broken"}) {
                var connection = (HttpURLConnection) new URL(base + path).openConnection();
                if (path.equals("/chunks")) {
                    connection.setDoOutput(true);
                    connection.setChunkedStreamingMode(16);
                    try (OutputStream out = connection.getOutputStream()) {
                        out.write(LIKE);
                    }
                }
                int status = connection.getResponseCode();
                try (InputStream in = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
                    if (in != null) in.readAllBytes();
                }
                asked.incrementAndGet(status / 100 - 2);
            }
        }
    }

    static void askInVain(HttpClient client, String base) throws InterruptedException {
        for (int i = 0; i < TIMES; i++) {
            try {
                client.send(request(base, "/aborted").POST(BodyPublishers.ofByteArray(LIKE)).build(),
                    BodyHandlers.discarding());
                throw new IllegalStateException("an answer where there is none");
            } catch (IOException expected) {
                asked.incrementAndGet(NONE);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        String base = serve(args[0]);
        // It wishes for HTTP/2, and takes the answer in HTTP/1.1.
        HttpClient wishing = HttpClient.newHttpClient();
        HttpClient plain = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        for (HttpClient client : new HttpClient[] {wishing, plain}) {
            askAll(client, base);
            askAtOnce(client, base);
            askInVain(client, base);
        }
        askByUrl(base);
        if (!asked.toString().equals(served.toString())) {
            throw new IllegalStateException("the client has " + asked + ", the server " + served);
        }
        System.out.println("direct " + served.toString().replaceAll("[\\[\\],]", ""));
        // Connections that are kept would keep it.
        System.exit(0);
    }
}
