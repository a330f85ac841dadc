-- profiles: one row a person with all that is known: what persons has, and money, habits, satisfaction and contacts.
-- Grain: person
-- Keys: person_key, person_id
-- Inputs: persons, orders, sessions, contacts, complaints, satisfaction, preferences, carts
-- Order: person_key
-- Increment: whole
-- Definition: money is in `currency`, that of the person's latest order; orders in others are in none of the sums. lifetime_value is
--   net_revenue so far: null where none of these orders says its value, 0 of who has not ordered. recency_days: from the latest order to the newest event of anybody. frequency: different days (UTC)
--   with an order; monetary: net_revenue of a day on average, among days with an order in the currency whose value is known;
--   none without such a day. rfm: three scores from 1 to 5, each 1 + floor(5 × share of the buyers who are strictly worse), of
--   money: of those whose money is in the same currency; no
--   monetary counts as 0. satisfaction_band is that of the latest answer to a survey that has one. margin: known
--   where that of each of these orders is. open_cart: the cart last used of those that are neither ordered nor emptied.
WITH latest_order AS (
  SELECT
    person_key,
    currency,
    ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY order_number DESC) AS place
  FROM orders
),
money AS (
  SELECT
    o.person_key,
    MIN(l.currency) AS currency,
    COUNT(DISTINCT COALESCE(o.currency, '')) AS currencies,
    SUM(CASE WHEN COALESCE(o.currency, '') = COALESCE(l.currency, '') THEN o.net_revenue END) AS net_revenue,
    CASE
      WHEN COUNT(CASE WHEN COALESCE(o.currency, '') = COALESCE(l.currency, '') AND o.margin IS NULL THEN 1 END) = 0
        THEN SUM(CASE WHEN COALESCE(o.currency, '') = COALESCE(l.currency, '') THEN o.margin END)
    END AS margin,
    COUNT(DISTINCT {{ day_of o.ordered_at }}) AS frequency,
    COUNT(DISTINCT CASE
      WHEN COALESCE(o.currency, '') = COALESCE(l.currency, '') AND o.net_revenue IS NOT NULL
        THEN {{ day_of o.ordered_at }}
    END) AS valued_days,
    MAX(o.ordered_at) AS last_ordered_at
  FROM orders AS o
  JOIN latest_order AS l ON l.person_key = o.person_key AND l.place = 1
  GROUP BY o.person_key
),
as_of AS (
  SELECT MAX(last_seen) AS newest FROM persons
),
habits AS (
  SELECT
    m.*,
    CASE WHEN m.valued_days > 0 THEN m.net_revenue / m.valued_days END AS monetary,
    CAST({{ seconds_between m.last_ordered_at | a.newest }} AS DOUBLE) / 86400.0 AS recency_days
  FROM money AS m
  CROSS JOIN as_of AS a
),
ranked AS (
  SELECT
    h.*,
    COUNT(*) OVER () AS buyers,
    RANK() OVER (ORDER BY h.recency_days DESC) - 1 AS worse_recency,
    RANK() OVER (ORDER BY h.frequency) - 1 AS worse_frequency,
    COUNT(*) OVER (PARTITION BY COALESCE(h.currency, '')) AS buyers_in_currency,
    RANK() OVER (PARTITION BY COALESCE(h.currency, '') ORDER BY COALESCE(h.monetary, 0.0)) - 1 AS worse_monetary
  FROM habits AS h
),
scored AS (
  SELECT
    r.*,
    CAST(FLOOR(5.0 * r.worse_recency / r.buyers) AS BIGINT) + 1 AS r_score,
    CAST(FLOOR(5.0 * r.worse_frequency / r.buyers) AS BIGINT) + 1 AS f_score,
    CAST(FLOOR(5.0 * r.worse_monetary / r.buyers_in_currency) AS BIGINT) + 1 AS m_score
  FROM ranked AS r
),
bands AS (
  SELECT
    person_key,
    band,
    ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY answered_at DESC, event_id DESC, source DESC) AS place
  FROM satisfaction
  WHERE event_name = 'survey_answered' AND band IS NOT NULL
),
accounts_seen AS (
  SELECT
    person_key,
    account_id,
    ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY started_at DESC, session_key DESC) AS place
  FROM sessions
  WHERE account_id IS NOT NULL
),
open_carts AS (
  SELECT
    person_key,
    cart_key,
    value_left,
    ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY last_at DESC, cart_key DESC) AS place
  FROM carts
  WHERE outcome IN ('open', 'abandoned')
),
contacted AS (
  SELECT person_key, COUNT(*) AS contacts, MAX(contacted_at) AS last_contact_at FROM contacts GROUP BY person_key
),
complained AS (
  SELECT
    person_key,
    COUNT(*) AS complaints,
    COUNT(CASE WHEN solved_at IS NULL THEN 1 END) AS open_complaints
  FROM complaints
  GROUP BY person_key
)
SELECT
  p.person_key,
  p.person_id,
  p.known_person,
  p.first_seen,
  p.last_seen,
  p.user_ids,
  p.anonymous_ids,
  p.touchpoints,
  p.sessions,
  p.first_channel,
  p.first_marketing_channel,
  p.stage,
  p.stage_number,
  p.stage_entered_at,
  p.orders,
  p.revenue,
  p.first_ordered_at,
  p.last_ordered_at,
  s.currency,
  COALESCE(s.currencies, 0) AS currencies,
  CASE WHEN p.orders > 0 THEN s.net_revenue ELSE 0.0 END AS net_revenue,
  s.margin,
  CASE WHEN p.orders > 0 THEN s.net_revenue ELSE 0.0 END AS lifetime_value,
  s.recency_days,
  COALESCE(s.frequency, 0) AS frequency,
  s.monetary,
  s.r_score,
  s.f_score,
  s.m_score,
  CAST(s.r_score AS VARCHAR) || '-' || CAST(s.f_score AS VARCHAR) || '-' || CAST(s.m_score AS VARCHAR) AS rfm,
  f.category AS preferred_category,
  k.cart_key AS open_cart_key,
  k.value_left AS open_cart_value,
  b.band AS satisfaction_band,
  c.last_contact_at,
  COALESCE(c.contacts, 0) AS contacts,
  COALESCE(x.complaints, 0) AS complaints,
  COALESCE(x.open_complaints, 0) AS open_complaints,
  a.account_id
  {{ person_traits }}
FROM persons AS p
LEFT JOIN scored AS s ON s.person_key = p.person_key
LEFT JOIN bands AS b ON b.person_key = p.person_key AND b.place = 1
LEFT JOIN accounts_seen AS a ON a.person_key = p.person_key AND a.place = 1
LEFT JOIN contacted AS c ON c.person_key = p.person_key
LEFT JOIN complained AS x ON x.person_key = p.person_key
LEFT JOIN preferences AS f ON f.person_key = p.person_key AND f.place = 1
LEFT JOIN open_carts AS k ON k.person_key = p.person_key AND k.place = 1
