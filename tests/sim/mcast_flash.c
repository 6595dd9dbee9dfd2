#include "mcast_flash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void mcast_flash_init(struct mcast_flash *f, uint32_t size, uint32_t granule)
{
	assert(size % granule == 0 && granule % (8 * MCAST_FLASH_WORD) == 0);
	*f = (struct mcast_flash){ .size = size, .granule = granule };
	f->bytes = malloc(size);
	f->used = calloc(1, size / MCAST_FLASH_WORD / 8);
	assert(f->bytes && f->used);
	memset(f->bytes, 0xff, size);
}

void mcast_flash_done(struct mcast_flash *f)
{
	free(f->bytes);
	free(f->used);
	*f = (struct mcast_flash){ 0 };
}

static bool inside(const struct mcast_flash *f, uint32_t address, uint32_t n)
{
	return address <= f->size && n <= f->size - address;
}

int mcast_flash_read(struct mcast_flash *f, uint32_t address, void *ret, uint32_t n)
{
	if (!inside(f, address, n))
		return -EINVAL;
	f->read_bytes += n;
	memcpy(ret, f->bytes + address, n);
	return 0;
}

int mcast_flash_program(struct mcast_flash *f, uint32_t address, const void *bytes, uint32_t n)
{
	const uint8_t *from = bytes;

	if (!inside(f, address, n))
		return -EINVAL;
	if (f->fails)
		return -EIO;
	f->twice += address % MCAST_FLASH_WORD != 0;
	f->program_bytes += n;
	for (uint32_t w = address / MCAST_FLASH_WORD; n && w <= (address + n - 1) / MCAST_FLASH_WORD; w++) {
		f->twice += f->used[w / 8] >> w % 8 & 1;
		f->used[w / 8] |= (uint8_t)(1 << w % 8);
	}
	for (uint32_t i = 0; i < n; i++)
		f->bytes[address + i] &= from[i];
	return 0;
}

int mcast_flash_erase(struct mcast_flash *f, uint32_t address, uint32_t n)
{
	if (!inside(f, address, n) || address % f->granule || n % f->granule)
		return -EINVAL;
	if (f->fails)
		return -EIO;
	f->erases += n / f->granule;
	memset(f->bytes + address, 0xff, n);
	memset(f->used + address / MCAST_FLASH_WORD / 8, 0, n / MCAST_FLASH_WORD / 8);
	return 0;
}
