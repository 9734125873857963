import java.io.IOException;
import java.net.*;
import java.net.http.*;
import java.time.*;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeParseException;
import java.util.*;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import java.util.regex.*;
import java.util.stream.Collectors;

/** Reports circuit breakers to Somabrain Sleep, with Java's own HTTP client. Copy this file. See ../resilience4j.md. */
public final class SleepEmitter {
    private static final System.Logger LOG = System.getLogger("sleep");
    private static final Set<String> SLEEPING = Set.of("open", "half_open", "forced_open");
    private static final int MOST_BREAKERS = 10_000;
    private static final int MOST_EVENTS = 100; // in one request, which may have 64 KiB
    private static final int MOST_CHARACTERS = 256; // of a cause
    private static final Pattern DETAIL = Pattern.compile("\"detail\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.){0,256}+)");
    private static final long SECOND = 1_000_000_000L;
    private static final long REFUSED_WAIT = 300 * SECOND;

    private record Key(String tenant, String breaker) { }

    /** The last state of a breaker. A later state is another report. Times are those of the local monotonic clock. */
    private static final class Report {
        final String state;
        final String cause;
        final long changed = System.nanoTime();
        long occurredAt; // milliseconds by the server's clock; set once, when the report is first sent
        long due = changed;

        Report(String state, String cause) {
            this.state = state;
            this.cause = cause;
        }
    }

    private record Answer(int status, long retryAfter, String detail) { }

    private final Map<Key, Report> reports = new HashMap<>(); // and with it the monitor of all that threads share
    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
        .connectTimeout(Duration.ofSeconds(5)).followRedirects(HttpClient.Redirect.NEVER).build();
    private final URI uri;
    private final Supplier<String> token;
    private final long repeat;
    private final String instance;
    private final String run = UUID.randomUUID().toString();
    private final Thread thread = new Thread(this::run, "sleep-emitter");
    private long number; // of events sent, for their ids
    private long ahead = Long.MIN_VALUE; // how far the server's clock is ahead of the local monotonic one, at least; ns
    private boolean stopping;
    private int dropped;

    /** Start an emitter. `repeat` is at most a third of the lease: 5 minutes fit the default lease of 15. */
    public SleepEmitter(String url, Supplier<String> token, Duration repeat) {
        this.uri = URI.create(url.replaceAll("/+$", "") + "/api/breakers/events");
        this.token = token;
        this.repeat = repeat.toNanos();
        this.instance = host() + "-" + ProcessHandle.current().pid();
        thread.setDaemon(true);
        thread.start();
    }

    private static String host() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException unresolved) { // as in a container without a name service
            String name = System.getenv("HOSTNAME");
            return name == null || name.isBlank() ? UUID.randomUUID().toString() : name;
        }
    }

    /** Note the state of a breaker, without I/O. */
    public void report(String tenant, String breaker, String state, String cause) {
        Key key = new Key(tenant, breaker);
        String spelled = state.toLowerCase(Locale.ROOT);
        synchronized (reports) {
            Report known = reports.get(key);
            if (known != null && known.state.equals(spelled)) {
                return;
            }
            if (stopping || known == null && reports.size() >= MOST_BREAKERS) {
                dropped++;
                return;
            }
            reports.put(key, new Report(spelled, clean(cause == null ? spelled : cause)));
            reports.notifyAll();
        }
    }

    /** A text that the API takes as a cause: cut, and without control characters. */
    private static String clean(String text) {
        return text.codePoints().limit(MOST_CHARACTERS).map(point -> Character.isISOControl(point) ? ' ' : point)
            .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append).toString();
    }

    /** The number of reports that were dropped: too many breakers, after `close`, or refused by the API. */
    public int dropped() {
        synchronized (reports) {
            return dropped;
        }
    }

    /** Send what waits, and `closed` for what sleeps, so that no claim stays behind. Tells if all was sent in time. */
    public boolean close(Duration timeout) throws InterruptedException {
        synchronized (reports) {
            reports.replaceAll((key, report) ->
                SLEEPING.contains(report.state) ? new Report("closed", "the process stops") : report);
            stopping = true;
            reports.notifyAll();
        }
        thread.join(Math.max(1, timeout.toMillis())); // 0 would be for ever
        thread.interrupt(); // A request that is under way ends, too.
        thread.join(1000);
        synchronized (reports) {
            return reports.isEmpty();
        }
    }

    /** Send one request at a time. The first one has no events: it shows a wrong URL or token, and the server's time. */
    private void run() {
        int failures = 0;
        int most = MOST_EVENTS;
        boolean known = false;
        try {
            while (true) {
                Map<Key, Report> batch = next(known, most);
                if (batch == null) {
                    return;
                }
                Answer answer = post(batch);
                int status = answer.status;
                boolean refused = status >= 400 && status < 500 && status != 408 && status != 429;
                if (status == 202) {
                    failures = 0;
                    known = true;
                    most = Math.min(2 * most, MOST_EVENTS);
                    sent(batch, repeat, true);
                } else if (known && (status == 413 || status == 422)) {
                    // The request is too large, or one of its events is wrong: it must not hold up the others.
                    most = Math.max(1, batch.size() / 2);
                    if (batch.size() == 1) {
                        batch.forEach((key, report) -> drop(key, report, answer));
                    }
                } else if (refused && known && status != 401) {
                    LOG.log(System.Logger.Level.WARNING, "Reports of tenant {0} are refused with {1}: check the scope "
                        + "of the token.", batch.keySet().iterator().next().tenant, status);
                    sent(batch, REFUSED_WAIT, false); // The other tenants go on.
                } else {
                    if (failures++ == 0) {
                        LOG.log(System.Logger.Level.WARNING, "{0} takes no reports (status {1}). Trying again.", uri, status);
                    }
                    long wait = Math.max(answer.retryAfter, refused ? 60 : Math.min(16, 1 << Math.min(failures - 1, 4)));
                    pause(wait * SECOND + ThreadLocalRandom.current().nextLong(wait * SECOND / 2));
                }
            }
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    /** Wait for something to send, and return it: so many reports of one tenant. Null at the end. */
    private Map<Key, Report> next(boolean known, int most) throws InterruptedException {
        synchronized (reports) {
            while (true) {
                Map<Key, Report> batch = new HashMap<>();
                String tenant = null;
                long now = System.nanoTime();
                long wait = 3600 * SECOND;
                for (Map.Entry<Key, Report> each : reports.entrySet()) {
                    long left = each.getValue().due - now;
                    if (left > 0) {
                        wait = Math.min(wait, left);
                    } else if (tenant == null || each.getKey().tenant.equals(tenant) && batch.size() < most) {
                        tenant = each.getKey().tenant;
                        batch.put(each.getKey(), each.getValue());
                    }
                }
                if (batch.isEmpty() && stopping) {
                    return null;
                }
                if (!known) {
                    return Map.of();
                }
                if (!batch.isEmpty()) {
                    return batch;
                }
                reports.wait(wait / 1_000_000 + 1);
            }
        }
    }

    /** Note that a batch was sent, unless a later state has come. A breaker that is closed is then forgotten. */
    private void sent(Map<Key, Report> batch, long wait, boolean accepted) {
        synchronized (reports) {
            batch.forEach((key, report) -> {
                report.due = System.nanoTime() + wait;
                if (accepted && !SLEEPING.contains(report.state)) {
                    reports.remove(key, report);
                }
            });
        }
    }

    /** Forget what the API will never take, unless a later state has come. */
    private void drop(Key key, Report report, Answer answer) {
        LOG.log(System.Logger.Level.WARNING, "Dropped {0} of breaker {1} of tenant {2}: refused with {3}: {4}",
            report.state, clean(key.breaker), clean(key.tenant), answer.status, answer.detail);
        synchronized (reports) {
            dropped++;
            reports.remove(key, report);
        }
    }

    /** Wait, whatever is reported; half a second at most while the emitter closes. */
    private void pause(long nanoseconds) throws InterruptedException {
        synchronized (reports) {
            long end = System.nanoTime() + (stopping ? Math.min(nanoseconds, SECOND / 2) : nanoseconds);
            boolean before = stopping;
            for (long left; (left = end - System.nanoTime()) > 0 && stopping == before;) {
                reports.wait(left / 1_000_000 + 1);
            }
        }
    }

    private Answer post(Map<Key, Report> batch) throws InterruptedException {
        String body = batch.entrySet().stream().map(each -> event(each.getKey(), each.getValue()))
            .collect(Collectors.joining(",", "[", "]"));
        try {
            HttpRequest request = HttpRequest.newBuilder(uri).timeout(Duration.ofSeconds(10))
                .header("Authorization", "Bearer " + token.get())
                .header("Content-Type", "application/cloudevents-batch+json")
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
            HttpResponse<String> answer = client.send(request, head -> head.statusCode() == 202
                ? HttpResponse.BodySubscribers.replacing("") : HttpResponse.BodyHandlers.ofString().apply(head));
            answer.headers().firstValue("Date").ifPresent(this::learn);
            String after = answer.headers().firstValue("Retry-After").filter(text -> text.matches("\\d{1,4}")).orElse("0");
            Matcher detail = DETAIL.matcher(answer.body());
            return new Answer(answer.statusCode(), Math.min(3600, Long.parseLong(after)),
                detail.find() ? clean(detail.group(1)) : "");
        } catch (IOException | RuntimeException failed) {
            LOG.log(System.Logger.Level.DEBUG, "no answer", failed);
            return new Answer(0, 0, "");
        }
    }

    /** The server's time was cut to seconds. So the largest difference is the best one, and never too large. */
    private void learn(String date) {
        try {
            long server = ZonedDateTime.parse(date, DateTimeFormatter.RFC_1123_DATE_TIME).toEpochSecond() * SECOND;
            ahead = Math.max(ahead, server - System.nanoTime());
        } catch (DateTimeParseException other) {
            LOG.log(System.Logger.Level.DEBUG, "no date", other);
        }
    }

    private String event(Key key, Report report) {
        if (report.occurredAt == 0 && ahead != Long.MIN_VALUE) {
            report.occurredAt = (report.changed + ahead) / 1_000_000;
        }
        List<String> data = List.of("breaker", key.breaker, "instance", instance, "state", report.state,
            "cause", report.cause);
        return "{\"specversion\":\"1.0\",\"type\":\"sleep.breaker.v1\"," + fields(List.of("id", run + "-" + ++number,
            "source", "urn:breakers:" + instance, "subject", key.tenant)) + ",\"data\":{" + fields(data)
            + (report.occurredAt == 0 ? "" : ",\"occurred_at\":" + report.occurredAt) + "}}";
    }

    private static String fields(List<String> namesAndValues) {
        StringBuilder out = new StringBuilder();
        for (int at = 0; at < namesAndValues.size(); at += 2) {
            String value = namesAndValues.get(at + 1).replaceAll("\\p{Cntrl}", " ").replace("\\", "\\\\").replace("\"", "\\\"");
            out.append(at == 0 ? "" : ",").append('"').append(namesAndValues.get(at)).append("\":\"").append(value).append('"');
        }
        return out.toString();
    }
}
