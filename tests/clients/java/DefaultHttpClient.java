import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Java's own HTTP client as it is by default: it asks for HTTP/2 with `Upgrade: h2c`. */
public class DefaultHttpClient {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int number = 0; number < 3; number++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("SLEEP_URL") + "/api/util/sleep"))
                    .header("Authorization", "Bearer " + System.getenv("SLEEP_TOKEN"))
                    .header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString("{\"target_state\": \"light\", \"ttl_seconds\": 30}"))
                    .expectContinue(number == 2)
                    .build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200 || answer.version() != HttpClient.Version.HTTP_1_1) {
                throw new AssertionError(answer.version() + " " + answer.statusCode() + " " + answer.body());
            }
        }
        System.out.println("done");
    }
}
