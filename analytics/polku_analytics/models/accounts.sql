-- accounts: one row per account (group id): its people, what they did and bought, the furthest stage any of them is in.
-- Grain: account
-- Keys: account_id
-- Inputs: sessions, profiles, orders
-- Order: account_id
-- Increment: whole
-- Definition: people are those with a session of the account, also if they belong to another one now. orders are those made in its
--   sessions. Money is in `currency`, that of the account's latest order; orders in others are not in net_revenue. It is null
--   where none of them says its value, and 0 without orders.
WITH members AS (
  SELECT
    account_id,
    person_key,
    COUNT(*) AS sessions,
    MIN(started_at) AS first_seen,
    MAX(ended_at) AS last_seen
  FROM sessions
  WHERE account_id IS NOT NULL
  GROUP BY account_id, person_key
),
seen AS (
  SELECT
    m.account_id,
    COUNT(*) AS people,
    COUNT(CASE WHEN p.known_person THEN 1 END) AS known_people,
    SUM(m.sessions) AS sessions,
    MIN(m.first_seen) AS first_seen,
    MAX(m.last_seen) AS last_seen,
    MAX(p.stage_number) AS stage_number
  FROM members AS m
  JOIN profiles AS p ON p.person_key = m.person_key
  GROUP BY m.account_id
),
bought AS (
  SELECT
    s.account_id,
    o.net_revenue,
    o.currency,
    o.ordered_at,
    ROW_NUMBER() OVER (PARTITION BY s.account_id ORDER BY o.ordered_at DESC, o.order_id DESC, o.event_name DESC) AS place
  FROM orders AS o
  JOIN sessions AS s ON s.person_key = o.person_key AND s.session_key = o.session_key
  WHERE s.account_id IS NOT NULL
),
money AS (
  SELECT
    b.account_id,
    MIN(l.currency) AS currency,
    COUNT(*) AS orders,
    SUM(CASE WHEN COALESCE(b.currency, '') = COALESCE(l.currency, '') THEN b.net_revenue END) AS net_revenue,
    MAX(b.ordered_at) AS last_ordered_at
  FROM bought AS b
  JOIN bought AS l ON l.account_id = b.account_id AND l.place = 1
  GROUP BY b.account_id
)
SELECT
  s.account_id,
  s.people,
  s.known_people,
  CAST(s.sessions AS BIGINT) AS sessions,
  s.first_seen,
  s.last_seen,
  {{ stage_name s.stage_number }} AS stage,
  s.stage_number,
  COALESCE(m.orders, 0) AS orders,
  m.currency,
  CASE WHEN m.orders > 0 THEN m.net_revenue ELSE 0.0 END AS net_revenue,
  m.last_ordered_at
FROM seen AS s
LEFT JOIN money AS m ON m.account_id = s.account_id
