import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/** A service with a breaker for each tenant: each line of its input is a call, such as `acme ok` or `acme fail`. */
public final class Service {
    private static final CircuitBreakerConfig CONFIG = CircuitBreakerConfig.custom()
        .slidingWindowSize(4).minimumNumberOfCalls(4).permittedNumberOfCallsInHalfOpenState(1)
        .waitDurationInOpenState(Duration.ofSeconds(1)) // open until then; your service waits longer
        .build();

    public static void main(String[] arguments) throws Exception {
        Duration repeat = Duration.parse(System.getenv().getOrDefault("REPEAT", "PT5M"));
        SleepEmitter emitter = new SleepEmitter(System.getenv("SLEEP_URL"), () -> System.getenv("SLEEP_TOKEN"), repeat);
        Map<String, CircuitBreaker> breakers = new HashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null;) {
            String tenant = line.split(" ")[0];
            boolean works = line.endsWith(" ok");
            CircuitBreaker breaker = breakers.computeIfAbsent(tenant, name -> reported(emitter, name));
            String outcome = "paid";
            try {
                breaker.executeRunnable(() -> call(works));
            } catch (RuntimeException failed) {
                outcome = failed.getClass().getSimpleName();
            }
            System.out.println(tenant + " " + breaker.getState() + " " + outcome);
        }
        System.out.println("all sent: " + emitter.close(Duration.ofSeconds(5)));
    }

    private static CircuitBreaker reported(SleepEmitter emitter, String tenant) {
        CircuitBreaker breaker = CircuitBreaker.of("payments", CONFIG);
        breaker.getEventPublisher().onStateTransition(event -> {
            CircuitBreaker.State state = event.getStateTransition().getToState();
            float rate = breaker.getMetrics().getFailureRate();
            emitter.report(tenant, event.getCircuitBreakerName(), state.name(), "failure rate " + rate + " %");
        });
        return breaker;
    }

    private static void call(boolean works) {
        if (!works) {
            throw new IllegalStateException("the payment provider does not answer");
        }
    }
}
