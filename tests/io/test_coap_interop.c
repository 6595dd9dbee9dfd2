/* io/coap_endpoint with a client we did not write: libcoap's coap-client (Debian: libcoap3-bin), when it is installed. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "coap_fixture.h"

#define TOOL "/usr/bin/coap-client-openssl"

struct tool {
	struct fixture *f;
	struct loop_io *io;
	struct buf out;
	pid_t pid;
	int status;
};

static void on_output(void *ctx, int fd, unsigned what)
{
	struct tool *t = ctx;
	uint8_t b[4096];
	ssize_t n = read(fd, b, sizeof(b));

	if (n > 0) {
		buf_add(&t->out, SPAN(b, (size_t)n));
		return;
	}
	t->io = loop_io_free(t->io);
	loop_stop(t->f->loop);
}

/* Runs the tool against the endpoint while the loop turns; its standard output ends up in t->out. */
static void run(struct tool *t, const char *input, const char *const *args)
{
	const char *argv[24] = { TOOL, "-v", "0" };
	int out[2], in[2];
	size_t n = 3;

	for (size_t i = 0; args[i]; i++)
		argv[n++] = args[i];
	buf_clear(&t->out);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	t->pid = fork();
	assert_true(t->pid >= 0);
	if (t->pid == 0) {
		(void)dup2(in[0], 0);
		(void)dup2(out[1], 1);
		execv(TOOL, (char *const *)(const void *)argv);
		_exit(127);
	}
	close(out[1]);
	close(in[0]);
	if (input)
		assert_int_equal(write(in[1], input, strlen(input)), (ssize_t)strlen(input));
	close(in[1]);
	t->io = loop_io_new(t->f->loop, out[0], LOOP_READ, on_output, t);
	if (loop_run_for(t->f->loop, FIXTURE_MS) < 0)
		kill(t->pid, SIGKILL);
	t->io = loop_io_free(t->io);
	close(out[0]);
	assert_int_equal(waitpid(t->pid, &t->status, 0), t->pid);
	assert_true(WIFEXITED(t->status));
}

#define RUN(t_, input_, ...) run((t_), (input_), (const char *const[]){ __VA_ARGS__, NULL })

static const char *url(struct fixture *f, const char *base, const char *path)
{
	static char u[128];

	(void)snprintf(u, sizeof(u), "%s/%s", base, path);
	return u;
}

static void coap_client_gets_puts_and_observes(void **state)
{
	struct fixture *f = *state;
	struct tool t = { .f = f };
	char input[6001];

	if (access(TOOL, X_OK) < 0)
		skip();
	RUN(&t, NULL, "-B", "5", url(f, f->plain, "hello"));
	assert_string_equal(buf_str(&t.out), "hello\n");
	RUN(&t, NULL, "-B", "5", url(f, f->plain, ".well-known/core?rt=core.rd"));
	assert_string_equal(buf_str(&t.out), "</store>;rt=core.rd\n");
	for (int szx = 16; szx <= 1024; szx *= 8) {
		char size[16];

		(void)snprintf(size, sizeof(size), "%d", szx);
		RUN(&t, NULL, "-B", "15", "-b", size, url(f, f->plain, "image/a"));
		assert_int_equal(t.out.n, 100001); /* it adds a newline */
		assert_pattern(span_sub(buf_span(&t.out), 0, 100000), 0, 0);
	}
	memset(input, 'x', sizeof(input) - 1);
	input[sizeof(input) - 1] = '\0';
	RUN(&t, input, "-B", "5", "-m", "put", "-b", "64", "-f", "-", url(f, f->plain, "store"));
	assert_int_equal(f->stored.n, 6000);
	assert_int_equal(f->n_store, 1);
	f->big_bytes = 3000;
	RUN(&t, NULL, "-B", "5", "-b", "128", url(f, f->plain, "big"));
	assert_int_equal(t.out.n, 3001);
	assert_int_equal(f->n_big, 1);
	buf_done(&t.out);
}

static struct loop_timer *ticker;

static void on_tick(void *ctx)
{
	struct fixture *f = ctx;

	f->value++;
	coap_endpoint_changed(f->e, "value");
	loop_timer_set(ticker, 300);
}

static void coap_client_follows_a_value(void **state)
{
	struct fixture *f = *state;
	struct tool t = { .f = f };

	if (access(TOOL, X_OK) < 0)
		skip();
	ticker = loop_timer_new(f->loop, on_tick, f);
	loop_timer_set(ticker, 300);
	RUN(&t, NULL, "-s", "2", url(f, f->plain, "value"));
	ticker = loop_timer_free(ticker);
	assert_true(span_starts(buf_span(&t.out), SPAN_LIT("0123")));
	assert_int_equal(metric_get(METRIC_COAP_OBSERVERS), 0); /* it cancels at its end */
	buf_done(&t.out);
}

static void coap_client_speaks_dtls(void **state)
{
	struct fixture *f = *state;
	struct tool t = { .f = f };

	if (access(TOOL, X_OK) < 0)
		skip();
	RUN(&t, NULL, "-B", "5", "-u", "node-9", "-k", "node-9", url(f, f->secure, "secret"));
	assert_string_equal(buf_str(&t.out), "node-9\n");
	RUN(&t, NULL, "-B", "8", "-u", "node-9", "-k", "node-9", url(f, f->secure, "image/a"));
	assert_int_equal(t.out.n, 100001);
	RUN(&t, NULL, "-B", "2", "-u", "nobody", "-k", "x", url(f, f->secure, "secret"));
	assert_int_equal(t.out.n, 0);
	buf_done(&t.out);
}

static void coap_client_goes_through_the_proxy(void **state)
{
	struct fixture *f = *state;
	struct tool t = { .f = f };

	if (access(TOOL, X_OK) < 0)
		skip();
	RUN(&t, NULL, "-B", "5", "-P", f->plain, "coap://127.0.0.1:9/hello"); /* Proxy-Scheme with Uri-Host */
	assert_int_equal(metric_get(METRIC_COAP_ERRORS) > 0, true); /* 5.05 */
	buf_done(&t.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(coap_client_gets_puts_and_observes),
		fixture_test(coap_client_follows_a_value),
		fixture_test(coap_client_speaks_dtls),
		fixture_test(coap_client_goes_through_the_proxy),
	};
	return cmocka_run_group_tests_name("io/coap_interop", tests, NULL, NULL);
}
