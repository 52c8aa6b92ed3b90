"""The rules: pure functions over plain values. They read no clock, do no input or output, and never raise."""
