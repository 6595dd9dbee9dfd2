/* trust/freshness.h - rollback and equivocation (SU-12, SU-13; threat T1): the highest sequence number accepted
 * for each vendor, class and root component, compared with what comes. Pure; the store keeps the entries. */
#pragma once
#include "codec/suit.h"
#include "trust/trust.h"

enum { FRESHNESS_ENTRIES_MAX = SUIT_IDS_MAX * SUIT_IDS_MAX };

enum freshness {
	FRESHNESS_FIRST,                       /* nothing seen for this key */
	FRESHNESS_NEWER, FRESHNESS_SAME,       /* the same manifest again: fine */
	FRESHNESS_ROLLBACK,                    /* lower than one accepted before */
	FRESHNESS_EQUIVOCATION,                /* the same number on another manifest: the signer's key is in doubt */
};
const char *freshness_name(enum freshness f);

/**
 * The keys a manifest stands for, as entries to be stored when it is accepted: one for each vendor and class its
 * conditions compare with (zero ids where it names none), on its root component.
 * A component id over 64 bytes is kept as its SHA-256.
 * Returns how many, at most FRESHNESS_ENTRIES_MAX; -E2BIG when there are more.
 */
int freshness_entries(const struct suit_manifest *m, const struct digest *manifest_digest,
		      struct freshness_entry ret[static FRESHNESS_ENTRIES_MAX]);
bool freshness_same_key(const struct freshness_entry *a, const struct freshness_entry *b);
enum freshness freshness_compare(const struct freshness_entry *seen, size_t n_seen, const struct freshness_entry *entry);
