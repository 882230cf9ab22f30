-- Counts of refused messages are kept for some months, and removed by who writes them.

GRANT DELETE ON intake_refusals TO wt_worker;
