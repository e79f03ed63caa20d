"""`nextbest doctor`: what is wrong with the data of a deployment, and what to do about it.

finding      what a finding is, and how severe
names        names of a bundle that are nearly alike; what nobody reads
customers    what customers hold: ages, times, spellings, consent, places
events       events that do not come, shards that are behind, identities of several customers
cli          the command: its options, its exit codes
command      reads the store and puts it all together
report       a table for people, JSON for tools
"""
