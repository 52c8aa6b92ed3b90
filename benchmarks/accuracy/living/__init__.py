"""The living world: accounts whose services and platforms behave oddly, each with its truth.

Every scenario is written from what a service returns and what a platform does. The truth of an account is a list of problems:
from when to when it cannot publish (or is about to lose its token), and what the monitor needs in order to know. `catalogue`
names the scenarios, `cast` has the accounts of a small run of one scenario and of the run of all of them.
"""
