"""The subcommands of `bench`, one file each. Within `bench`, only these modules may import `reports`."""
