/**
 * Whether a message of this generation and attempt may send the mail, of which the ledger knows
 * `entry` ({s, g, a}; nothing if it is unclaimed).
 */
export function claimable(entry, generation, attempt) {
  if (!entry) return true;
  if (entry.s === "r") {
    return generation > entry.g || (generation === entry.g && attempt > entry.a);
  }
  return entry.s === "f" && generation > entry.g;
}
