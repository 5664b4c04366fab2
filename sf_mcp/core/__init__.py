"""The rules of the system, pure: no clock, no disk, no network. Time comes in as `now`."""
