/* MCD-7: rows and parity payloads. tests/codec/ts004_decoder.py decodes them from the other side. */
#include <math.h>

#include "base/mem.h"
#include "codec/parity.h"
#include "vectors.h"

static unsigned weight_of(const uint8_t *row, unsigned m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m; i++)
		n += parity_row_bit(row, i);
	return n;
}

/* The row printed as the vectors write it: its first k and its last k indices. */
static void check_row(const uint8_t *row, unsigned m, const char *first, const char *last)
{
	char *end;

	for (unsigned i = 0; *first; i++) {
		while (i < m && !parity_row_bit(row, i))
			i++;
		assert_int_equal(i, strtoul(first, &end, 10));
		for (first = end; *first == ' '; first++)
			;
	}
	unsigned indices[16], n = 0;
	for (; *last; n++) {
		indices[n] = (unsigned)strtoul(last, &end, 10);
		for (last = end; *last == ' ' || *last == '\n'; last++)
			;
	}
	for (unsigned i = m; n > 0; n--, i--) {
		while (i > 0 && !parity_row_bit(row, i - 1))
			i--;
		assert_int_equal(i - 1, indices[n - 1]);
	}
}

static void rows_are_those_of_the_vectors(void **state)
{
	_cleanup_fclose_ FILE *f = fopen(VECTORS "/mcast/rows.txt", "r");
	char line[256];
	unsigned n_rows = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned alg, m, n, weight;
		int at;
		if (line[0] == '#' || sscanf(line, "%u %u %u %u %n", &alg, &m, &n, &weight, &at) != 4)
			continue;
		uint8_t row[PARITY_ROW_BYTES_MAX];
		char *last = strchr(line, ';');
		assert_non_null(last);
		*last++ = 0;
		parity_row(m, n, (enum parity_alg)alg, row);
		assert_int_equal(weight_of(row, m), weight);
		check_row(row, m, line + at, last + strspn(last, " \n"));
		n_rows++;
	}
	assert_int_equal(n_rows, 11);
}

/* The reference of the manual page, as it stands there. */
static uint32_t page_prbs23(uint32_t x)
{
	return (x >> 1) | (((x ^ (x >> 5)) & 1u) << 22);
}

static void page_row(unsigned M, unsigned n, int alg, uint8_t *row)
{
	unsigned mm = (M & (M - 1)) ? M : M + 1;
	uint32_t x = 1u + 1001u * n;

	memset(row, 0, (M + 7) / 8);
	for (unsigned c = 0; c < M / 2;) {
		unsigned r;
		do {
			x = page_prbs23(x);
			r = x % mm;
		} while (r >= M);
		if (alg == 1 || !(row[r >> 3] >> (r & 7) & 1))
			c++;
		row[r >> 3] |= (uint8_t)(1u << (r & 7));
	}
}

static void every_row_ends_and_is_the_pages(void **state)
{
	static const unsigned ms[] = { 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 127, 128, 255, 256, 510, 512, 1024, 2040, 2047, 2048 };
	uint8_t row[PARITY_ROW_BYTES_MAX], page[PARITY_ROW_BYTES_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
		unsigned m = ms[i], step = m > 256 ? 97 : m > 64 ? 13 : 1;
		assert_true(parity_n_max(m) <= PARITY_N_MAX && m + parity_n_max(m) <= PARITY_INDEX_MAX);
		for (unsigned n = 1; n <= parity_n_max(m); n += n + step <= parity_n_max(m) || n == parity_n_max(m) ? step : parity_n_max(m) - n)
			for (int alg = 1; alg <= 2; alg++) {
				parity_row(m, n, (enum parity_alg)alg, row);
				page_row(m, n, alg, page);
				assert_memory_equal(row, page, parity_row_bytes(m));
				unsigned weight = weight_of(row, m);
				assert_in_range(weight, 1, m / 2);
				if (alg == PARITY_TS004_V2)
					assert_int_equal(weight, m / 2);
				for (unsigned bit = m; bit < 8 * parity_row_bytes(m); bit++)
					assert_false(parity_row_bit(row, bit));
			}
	}
}

static void payloads_are_those_of_the_vectors(void **state)
{
	_cleanup_fclose_ FILE *f = fopen(VECTORS "/mcast/fragments.txt", "r");
	char line[512], object_hex[256], payload_hex[64];
	unsigned alg, m, z, n, n_lines = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || sscanf(line, "%u %u %u %u %255s %63s", &alg, &m, &z, &n, object_hex, payload_hex) != 6)
			continue;
		_cleanup_buf_ struct buf object = { 0 }, payload = { 0 };
		uint8_t got[PARITY_FRAGMENT_BYTES_MAX];
		add_hex(&object, object_hex);
		add_hex(&payload, payload_hex);
		assert_int_equal(payload.n, z);
		parity_fragment(buf_span(&object), m, z, n, (enum parity_alg)alg, got);
		assert_memory_equal(got, payload.p, z);
		n_lines++;
	}
	assert_int_equal(n_lines, 4);
}

static uint32_t seed = 1;

static uint32_t pseudo(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

/* Byte by byte, over the padded generation. */
static void slow_fragment(const uint8_t *padded, unsigned m, unsigned z, unsigned n, enum parity_alg alg, uint8_t *ret)
{
	uint8_t row[PARITY_ROW_BYTES_MAX];

	parity_row(m, n, alg, row);
	memset(ret, 0, z);
	for (unsigned i = 0; i < m; i++)
		for (unsigned b = 0; parity_row_bit(row, i) && b < z; b++)
			ret[b] ^= padded[i * z + b];
}

static void payloads_are_the_xor_of_their_row_at_every_size(void **state)
{
	enum { M = 40, Z_MAX = PARITY_FRAGMENT_BYTES_MAX };
	static uint8_t padded[M * Z_MAX], fast[Z_MAX + 1], slow[Z_MAX];

	(void)state;
	for (unsigned z = 1; z <= Z_MAX; z++) {
		for (unsigned turn = 0; turn < 4; turn++) {
			size_t n = turn == 0 ? M * z : turn == 1 ? 0 : pseudo() % (M * z + 1);
			/* exactly as many bytes as there are, so that a sanitizer sees a read past them */
			_cleanup_free_ uint8_t *object = malloc(n + 1);
			assert_non_null(object);
			memset(padded, 0, sizeof(padded));
			for (size_t i = 0; i < n; i++)
				padded[i] = object[i + 1] = (uint8_t)pseudo();
			enum parity_alg alg = turn % 2 ? PARITY_TS004_V1 : PARITY_TS004_V2;
			unsigned row = 1 + pseudo() % PARITY_N_MAX;
			fast[z] = 0xa5;
			parity_fragment(SPAN(object + 1, n), M, z, row, alg, fast);
			slow_fragment(padded, M, z, row, alg, slow);
			assert_memory_equal(fast, slow, z);
			assert_int_equal(fast[z], 0xa5);
		}
	}
}

/* How many rows decode `lost` fragments of m that are missing at random; rows from n on. */
static unsigned rows_needed(unsigned m, unsigned lost, unsigned n, enum parity_alg alg)
{
	enum { WORDS = 64 / 8 };
	uint64_t pivots[512][WORDS] = { 0 };
	bool has[512] = { false };
	unsigned missing[512], rank = 0, first = n;

	for (unsigned i = 0, k = 0; i < m; i++)
		if (pseudo() % (m - i) < lost - k)
			missing[k++] = i;
	for (; rank < lost; n++) {
		uint8_t row[PARITY_ROW_BYTES_MAX];
		uint64_t v[WORDS] = { 0 };
		parity_row(m, n, alg, row);
		for (unsigned k = 0; k < lost; k++)
			v[k / 64] |= (uint64_t)parity_row_bit(row, missing[k]) << (k % 64);
		for (unsigned k = 0; k < lost; k++) {
			if (!(v[k / 64] >> (k % 64) & 1))
				continue;
			if (!has[k]) {
				has[k] = true;
				rank++;
				memcpy(pivots[k], v, sizeof(v));
				break;
			}
			for (unsigned w = 0; w < WORDS; w++)
				v[w] ^= pivots[k][w];
		}
	}
	return n - first;
}

static void a_generation_decodes_from_about_two_rows_more_than_it_lost(void **state)
{
	(void)state;
	for (int alg = 1; alg <= 2; alg++) {
		unsigned extra = 0, at_once = 0, turns = 400;
		for (unsigned i = 0; i < turns; i++) {
			unsigned lost = 20 + pseudo() % 60, more;
			more = rows_needed(512, lost, 1 + pseudo() % 6000, (enum parity_alg)alg) - lost;
			extra += more;
			at_once += more == 0;
		}
		/* random rows of GF(2) need 1.6 more on average, and none in 29 of 100 cases */
		assert_true(extra > turns * 12 / 10 && extra < turns * 20 / 10);
		assert_true(at_once > turns / 5 && at_once < turns * 2 / 5);
	}
}

static void xor_is_its_own_inverse_at_every_length_and_alignment(void **state)
{
	uint8_t a[64], b[64], kept[64];

	(void)state;
	for (size_t offset = 0; offset < 8; offset++)
		for (size_t n = 0; n <= 40; n++) {
			for (size_t i = 0; i < sizeof(a); i++)
				kept[i] = a[i] = (uint8_t)pseudo(), b[i] = (uint8_t)pseudo();
			parity_xor(a + offset, b + 3, n);
			for (size_t i = 0; i < sizeof(a); i++)
				assert_int_equal(a[i], i >= offset && i < offset + n ? kept[i] ^ b[i - offset + 3] : kept[i]);
			parity_xor(a + offset, b + 3, n);
			assert_memory_equal(a, kept, sizeof(a));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_those_of_the_vectors),
		cmocka_unit_test(every_row_ends_and_is_the_pages),
		cmocka_unit_test(payloads_are_those_of_the_vectors),
		cmocka_unit_test(payloads_are_the_xor_of_their_row_at_every_size),
		cmocka_unit_test(a_generation_decodes_from_about_two_rows_more_than_it_lost),
		cmocka_unit_test(xor_is_its_own_inverse_at_every_length_and_alignment),
	};
	return cmocka_run_group_tests_name("codec/parity", tests, NULL, NULL);
}
