"""The ledger: what was audited when, and with what outcome."""
