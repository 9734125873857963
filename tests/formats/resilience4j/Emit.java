import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import io.github.resilience4j.circuitbreaker.CircuitBreakerRegistry;
import io.github.resilience4j.circuitbreaker.event.CircuitBreakerEvent;
import io.github.resilience4j.circuitbreaker.event.CircuitBreakerOnStateTransitionEvent;
import io.github.resilience4j.common.circuitbreaker.monitoring.endpoint.CircuitBreakerEventDTOFactory;
import io.github.resilience4j.common.circuitbreaker.monitoring.endpoint.CircuitBreakerEventsEndpointResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.TimeZone;

/** Prints what Spring Boot Actuator shows of real resilience4j breakers, one document a line. See ../README.md. */
public class Emit {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        TimeZone.setDefault(TimeZone.getTimeZone("Europe/Berlin"));
        List<CircuitBreakerEvent> events = new ArrayList<>();
        CircuitBreakerConfig config = CircuitBreakerConfig.custom()
            .slidingWindowSize(2).minimumNumberOfCalls(2).permittedNumberOfCallsInHalfOpenState(1)
            .waitDurationInOpenState(Duration.ofMillis(50)).build();
        CircuitBreaker breaker = CircuitBreakerRegistry.of(config).circuitBreaker("payments");
        breaker.getEventPublisher().onEvent(events::add);
        for (int call = 0; call < 3; call++) {
            try {
                breaker.executeRunnable(() -> { throw new IllegalStateException("upstream is away"); });
            } catch (RuntimeException expected) {
                continue;
            }
        }
        Thread.sleep(100);
        breaker.executeRunnable(() -> { });
        breaker.transitionToForcedOpenState();
        breaker.transitionToDisabledState();
        breaker.transitionToMetricsOnlyState();
        breaker.reset();
        for (CircuitBreakerEvent event : events) {
            // The endpoint itself fails on types that its factory does not know.
            switch (event.getEventType()) {
                case FAILURE_RATE_EXCEEDED, SLOW_CALL_RATE_EXCEEDED -> { }
                default -> print(CircuitBreakerEventDTOFactory.createCircuitBreakerEventDTO(event));
            }
        }
        for (CircuitBreaker.StateTransition transition : CircuitBreaker.StateTransition.values()) {
            print(CircuitBreakerEventDTOFactory.createCircuitBreakerEventDTO(
                new CircuitBreakerOnStateTransitionEvent("payments", transition)));
        }
        // The document of GET /actuator/circuitbreakerevents.
        CircuitBreakerEventsEndpointResponse response = new CircuitBreakerEventsEndpointResponse(List.of(
            CircuitBreakerEventDTOFactory.createCircuitBreakerEventDTO(
                new CircuitBreakerOnStateTransitionEvent("payments", CircuitBreaker.StateTransition.CLOSED_TO_OPEN)),
            CircuitBreakerEventDTOFactory.createCircuitBreakerEventDTO(
                new CircuitBreakerOnStateTransitionEvent("orders", CircuitBreaker.StateTransition.OPEN_TO_HALF_OPEN))));
        print(response);
    }

    private static void print(Object document) throws Exception {
        System.out.println(JSON.writeValueAsString(document));
    }
}
