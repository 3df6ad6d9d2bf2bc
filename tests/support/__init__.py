"""What several suites share: waiting, programs that tests need, rules about contracts."""
