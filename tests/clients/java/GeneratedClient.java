import java.math.BigDecimal;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.ModeApi;
import org.openapitools.client.api.OperationsApi;
import org.openapitools.client.model.*;

/** Starts a sleep and reads it, with the client that openapi-generator makes. */
public class GeneratedClient {
    public static void main(String[] arguments) throws Exception {
        ApiClient client = new ApiClient();
        client.updateBaseUri(System.getenv("SLEEP_URL"));
        client.setRequestInterceptor(
                request -> request.header("Authorization", "Bearer " + System.getenv("SLEEP_TOKEN")));
        OperationsApi operations = new OperationsApi(client);
        SleepBody body = new SleepBody().targetState(SleepingState.valueOf("SLEEPING_STATE_DEEP")).ttlSeconds(60.0);
        OperationDocument started = operations.startSleep(body, null, null, null, null);
        OperationDocument found = operations.getSleep(started.getOperationId(), null, null);
        check(found.getStatus() == OperationStatus.RUNNING, found);
        check(found.getExpiresAt() - found.getCreatedAt() == 60_000, found);
        SleepModeDocument mode = new ModeApi(client).getSleepMode(null, null);
        check(mode.getState() == SleepState.DEEP && mode.getParameters().getLambda() >= 0, mode);
        try {
            operations.getSleep("nobody", null, null);
            throw new AssertionError("an unknown operation was found");
        } catch (ApiException refused) {
            check(refused.getCode() == 404 && refused.getResponseBody().contains("unknown_operation"), refused);
        }
        System.out.println("java " + found.getOperationId());
    }

    private static void check(boolean holds, Object shown) {
        if (!holds) {
            throw new AssertionError(shown.toString());
        }
    }
}
