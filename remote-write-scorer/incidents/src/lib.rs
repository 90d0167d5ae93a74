//! Evidence, topology and incidents: which service, how sure, and who is next.
