/* tests/sim/mcast_flash.h - the flash of a simulated node: erased by granules, each word programmed once between two erasures (what
 * breaks that is counted, and a test fails on it). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MCAST_FLASH_WORD = 4 };

struct mcast_flash {
	uint8_t *bytes, *used;                 /* used: a bit for each word */
	uint32_t size, granule;
	uint64_t read_bytes, program_bytes, erases;
	unsigned twice;                        /* words programmed again, or programmed in part */
	bool fails;                            /* from now on, nothing can be programmed or erased */
};

void mcast_flash_init(struct mcast_flash *f, uint32_t size, uint32_t granule);
void mcast_flash_done(struct mcast_flash *f);
/* 0, or a negative errno. */
int mcast_flash_read(struct mcast_flash *f, uint32_t address, void *ret, uint32_t n);
int mcast_flash_program(struct mcast_flash *f, uint32_t address, const void *bytes, uint32_t n);
int mcast_flash_erase(struct mcast_flash *f, uint32_t address, uint32_t n);
