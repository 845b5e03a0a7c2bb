"""Decision methods: evidence in, actions out. Pure."""
