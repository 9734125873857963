import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;

/** Reports what the lines of its input say: tenant, breaker, state and cause, with tabs between. */
public final class Driver {
    public static void main(String[] arguments) throws Exception {
        SleepEmitter emitter = new SleepEmitter(System.getenv("SLEEP_URL"), () -> "token", Duration.ofMinutes(5));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null;) {
            String[] fields = line.split("\t");
            emitter.report(fields[0], fields[1], fields[2], fields[3].replace("\\n", "\n"));
        }
        boolean sent = emitter.close(Duration.ofSeconds(Long.parseLong(System.getenv("CLOSE"))));
        System.out.println("all sent: " + sent);
    }
}
