-- The features of retail.yaml in plain SQL, for every customer and instant in `asks`, from all that had arrived.
-- Nothing here is taken from the fold: bucket lengths and half-lives are written out, hashes come with the events.
-- The decayed sum is left in 2^-32 of 10^-4: it has more than the 53 bits of a DOUBLE.
--
--   arrivals(customer, occurred, arrived, message, type, revenue, quantity, product, slot, hash)   times in ms
--   asks(ask, customer, now)
WITH known AS (  -- the first arrival of each message
    SELECT ask, now, occurred, type, revenue, quantity, product, slot, hash,
           CAST(round_even(revenue * 10000, 0) AS BIGINT) AS cents
    FROM asks JOIN arrivals USING (customer)
    WHERE arrived <= now
    QUALIFY row_number() OVER (PARTITION BY ask, message ORDER BY arrived) = 1
),
newest AS (
    SELECT ask, max(now) AS now,
           max(occurred) FILTER (type = 'bought') AS bought, max(occurred) FILTER (type = 'returned') AS returned,
           max(occurred) AS either
    FROM known GROUP BY ask
),
aged AS (  -- how many buckets before the end of the window, for each length of bucket
    SELECT known.*,
           greatest(now, bought) // 28800000 - occurred // 28800000 AS b8h,
           greatest(now, bought) // 172800000 - occurred // 172800000 AS b2d,
           greatest(now, returned) // 172800000 - occurred // 172800000 AS r2d,
           greatest(now, either) // 172800000 - occurred // 172800000 AS e2d,
           greatest(now, bought) // 432000000 - occurred // 432000000 AS b5d,
           greatest(now, returned) // 1382400000 - occurred // 1382400000 AS r16d,
           greatest(now, bought) // 1382400000 - occurred // 1382400000 AS b16d,
           greatest(now, bought) // 2592000000 - occurred // 2592000000 AS b30d
    FROM known JOIN (SELECT ask, bought, returned, either FROM newest) USING (ask)
),
simple AS (
    SELECT ask,
           count(*) FILTER (type = 'bought' AND b8h < 21) AS lines_7d,
           count(*) FILTER (type = 'bought' AND b2d < 15) AS lines_30d,
           count(*) FILTER (type = 'bought' AND b16d < 23) AS lines_365d,
           coalesce(sum(cents) FILTER (type = 'bought' AND b5d < 18), 0)::DOUBLE / 10000 AS spend_90d,
           coalesce(sum(cents) FILTER (type = 'returned'), 0)::DOUBLE / 10000 AS returned_ever,
           (sum(cents) FILTER (type = 'bought' AND b2d < 15))::DOUBLE
               / (count(*) FILTER (type = 'bought' AND b2d < 15) * 10000) AS mean_30d,
           (min(cents) FILTER (type = 'bought' AND b5d < 18))::DOUBLE / 10000 AS cheapest_90d,
           (max(quantity) FILTER (type = 'bought' AND b16d < 23))::DOUBLE AS most_365d,
           count(DISTINCT slot) FILTER (type = 'bought' AND b5d < 18) AS slots_90d,
           max(struct_pack(occurred := occurred, product := product)) FILTER (type = 'bought') AS last_bought,
           count(*) FILTER (type = 'returned' AND r2d < 15)
               / nullif(count(*) FILTER (type = 'bought' AND b2d < 15), 0) AS return_rate_30d
    FROM aged GROUP BY ask
),
fading AS (  -- half-life 14 d in 23 buckets of 5 d
    SELECT ask, sum(cents * CAST(round_even(pow(2, -b5d * 5 / 14) * 4294967296, 0) AS BIGINT)) AS fading_spend
    FROM aged WHERE type = 'bought' AND b5d < 23 GROUP BY ask
),
keyed AS (  -- half-life 30 d in 24 buckets of 10 d, each of its sixteen keys with the smallest hashes
    SELECT ask, age, product, count(*) AS times, any_value(hash) AS hash
    FROM (SELECT *, greatest(now, newest_bought) // 864000000 - occurred // 864000000 AS age
          FROM known JOIN (SELECT ask, bought AS newest_bought FROM newest) USING (ask) WHERE type = 'bought')
    WHERE age < 24 GROUP BY ask, age, product
    QUALIFY row_number() OVER (PARTITION BY ask, age ORDER BY any_value(hash), product) <= 16
),
favourite AS (
    SELECT ask, product AS favourite FROM keyed
    GROUP BY ask, product
    QUALIFY row_number() OVER (
        PARTITION BY ask
        ORDER BY sum(times * CAST(round_even(pow(2, -age / 3) * 4294967296, 0) AS BIGINT)) DESC, product) = 1
),
pauses AS (
    SELECT ask, occurred // 60000 - lag(occurred // 60000) OVER (PARTITION BY ask ORDER BY occurred) AS pause
    FROM aged WHERE e2d < 15
),
visits AS (SELECT ask, count(*) FILTER (pause IS NULL OR pause > 30) AS visits_30d FROM pauses GROUP BY ask),
hourly AS (
    SELECT ask, occurred // 3600000 % 24 AS hour, count(*) AS times FROM aged
    WHERE type = 'bought' AND b30d < 3 GROUP BY ask, hour
),
stretches AS (
    SELECT ask, start, sum(times) FILTER ((hour - start + 24) % 24 < 3) AS within,
           sum(times) FILTER ((hour - start + 25) % 24 < 5) AS beside, sum(times) AS events
    FROM hourly, range(24) AS starts(start) GROUP BY ask, start
),
hours AS (
    SELECT ask, format('{:02d}:00-{:02d}:00', start, (start + 3) % 24) AS hours FROM stretches
    WHERE events >= 5
    QUALIFY row_number() OVER (PARTITION BY ask ORDER BY within DESC NULLS LAST, beside DESC NULLS LAST, start) = 1
)
SELECT ask, lines_7d, lines_30d, lines_365d, spend_90d, returned_ever, mean_30d, cheapest_90d, most_365d,
       CAST(round_even(-256 * ln(1 - slots_90d / 256), 0) AS BIGINT) AS products_90d,
       last_bought.product AS last_product,
       (newest.now - newest.bought) // 86400000 AS since_days,
       return_rate_30d, coalesce(fading_spend, 0) AS fading_spend, favourite,
       coalesce(visits_30d, 0) AS visits_30d,
       coalesce(newest.returned IS NULL OR newest.returned < newest.bought, false)
           AND newest.now - newest.bought >= 86400000 AS kept_it,
       hours
FROM newest JOIN simple USING (ask) LEFT JOIN fading USING (ask) LEFT JOIN favourite USING (ask)
     LEFT JOIN visits USING (ask) LEFT JOIN hours USING (ask)
ORDER BY ask
