"""From where and with what credentials are used: a token that is in two hands, a workload's credential from a network it never called from."""
