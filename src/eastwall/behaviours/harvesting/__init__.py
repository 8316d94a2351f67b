"""How much one caller asks one operation for: pages of a list, queries of a search, objects one by one."""
