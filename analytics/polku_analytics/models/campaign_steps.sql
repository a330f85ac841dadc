-- campaign_steps: what each person did with each campaign, from the mail that was sent to the order.
-- Grain: step of a person (sent, opened, clicked: event; visit, cart: session; order: order)
-- Keys: source, event_id, campaign, step
-- Inputs: unique_events, touchpoints, sessions, orders
-- Increment: person
-- Order: person_key, happened_at
-- Definition: sent, opened and clicked are events with a campaign_id ({{ sent_event_names }}; {{ opened_event_names }};
--   {{ clicked_event_names }}). A visit is a session with a utm_campaign, which names the campaign; cart is the first
--   touchpoint cart of that session, order an order made in it. An order counts for the campaign of its own visit only.
WITH told AS (
  SELECT e.source, e.event_id, {{ property campaign_id | string }} AS campaign
  FROM unique_events AS e
  WHERE e.event_name IN ({{ sent_event_names }}, {{ opened_event_names }}, {{ clicked_event_names }})
),
visits AS (
  SELECT session_key, utm_campaign AS campaign FROM sessions WHERE utm_campaign IS NOT NULL
),
during AS (
  SELECT t.*, v.campaign,
    ROW_NUMBER() OVER (PARTITION BY t.session_key ORDER BY t.touchpoint_number) AS place,
    MIN(CASE WHEN t.touchpoint = 'cart' THEN t.touchpoint_number END) OVER (PARTITION BY t.session_key) AS first_cart
  FROM touchpoints AS t
  JOIN visits AS v ON v.session_key = t.session_key
),
steps AS (
  SELECT
    t.person_key, t.session_key, t.account_id, t.source, t.event_id, e.campaign,
    CASE
      WHEN t.event_name IN ({{ sent_event_names }}) THEN 'sent'
      WHEN t.event_name IN ({{ opened_event_names }}) THEN 'opened'
      ELSE 'clicked'
    END AS step,
    t.event_time AS happened_at, t.channel, t.device, CAST(NULL AS VARCHAR) AS order_id
  FROM touchpoints AS t
  JOIN told AS e ON e.source = t.source AND e.event_id = t.event_id
  WHERE e.campaign IS NOT NULL
    AND t.event_name IN ({{ sent_event_names }}, {{ opened_event_names }}, {{ clicked_event_names }})
  UNION ALL
  SELECT person_key, session_key, account_id, source, event_id, campaign, 'visit', event_time, channel, device, NULL
  FROM during
  WHERE place = 1
  UNION ALL
  SELECT person_key, session_key, account_id, source, event_id, campaign, 'cart', event_time, channel, device, NULL
  FROM during
  WHERE touchpoint_number = first_cart
  UNION ALL
  SELECT person_key, session_key, account_id, source, event_id, campaign, 'order', event_time, channel, device, order_id
  FROM during
  WHERE order_id IS NOT NULL
)
SELECT
  s.person_key,
  s.session_key,
  s.account_id,
  s.source,
  s.event_id,
  s.campaign,
  s.step,
  s.happened_at,
  s.channel,
  s.device,
  s.order_id,
  o.net_revenue AS net_revenue,
  o.margin AS margin,
  o.currency
FROM steps AS s
LEFT JOIN orders AS o ON s.step = 'order' AND o.source = s.source AND o.event_id = s.event_id
