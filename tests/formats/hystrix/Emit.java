import com.netflix.hystrix.HystrixCommand;
import com.netflix.hystrix.HystrixCommandGroupKey;
import com.netflix.hystrix.HystrixCommandKey;
import com.netflix.hystrix.HystrixCommandProperties;
import com.netflix.hystrix.metric.consumer.HystrixDashboardStream;
import com.netflix.hystrix.serial.SerialHystrixDashboardData;

/** Prints samples of a real Hystrix stream, one document a line: closed, open, and closed again. See ../README.md. */
public class Emit {
    private static class Pay extends HystrixCommand<Integer> {
        private final boolean fails;

        Pay(boolean fails) {
            super(Setter.withGroupKey(HystrixCommandGroupKey.Factory.asKey("shop"))
                .andCommandKey(HystrixCommandKey.Factory.asKey("payments"))
                .andCommandPropertiesDefaults(HystrixCommandProperties.Setter()
                    .withCircuitBreakerRequestVolumeThreshold(2).withCircuitBreakerSleepWindowInMilliseconds(500)
                    .withMetricsHealthSnapshotIntervalInMilliseconds(50)));
            this.fails = fails;
        }

        @Override
        protected Integer run() {
            if (fails) {
                throw new IllegalStateException("upstream is away");
            }
            return 1;
        }
    }

    private static void pay(boolean fails) throws Exception {
        try {
            new Pay(fails).execute();
        } catch (RuntimeException expected) {
            System.err.println(expected.getMessage());
        }
        Thread.sleep(200);
    }

    private static void sample() {
        HystrixDashboardStream.DashboardData data =
            HystrixDashboardStream.getInstance().observe().toBlocking().first();
        for (String document : SerialHystrixDashboardData.toMultipleJsonStrings(data)) {
            System.out.println(document);
        }
    }

    public static void main(String[] arguments) throws Exception {
        pay(false);
        sample();
        for (int call = 0; call < 5; call++) {
            pay(true);
        }
        sample();
        Thread.sleep(700);
        pay(false);
        sample();
        System.exit(0);
    }
}
