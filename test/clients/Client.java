// Java's own HttpClient, unmodified: asks once and prints the answer. With `old` its HttpURLConnection.
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

class Client {
  public static void main(String[] words) throws Exception {
    var uri = URI.create("https://api.openai.com/v1/responses");
    var asked = "{\"model\":\"gpt-5\",\"input\":\"hi\"}";
    var key = "Bearer " + System.getenv("OPENAI_API_KEY");
    if (words.length > 0) {
      var connection = (HttpURLConnection) uri.toURL().openConnection();
      connection.setRequestProperty("Authorization", key);
      connection.setRequestProperty("Content-Type", "application/json");
      connection.setDoOutput(true);
      connection.getOutputStream().write(asked.getBytes());
      System.out.println(new String(connection.getInputStream().readAllBytes()));
      return;
    }
    var request = HttpRequest.newBuilder(uri).header("Authorization", key).header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(asked)).build();
    System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
  }
}
