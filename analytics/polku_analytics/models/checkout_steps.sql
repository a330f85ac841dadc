-- checkout_steps: the steps that people came to in each checkout, and whether they went on.
-- Grain: step of a checkout
-- Keys: checkout_key, step_number
-- Inputs: commerce_events, counted_orders
-- Increment: person
-- Order: person_key, checkout_key, step_number
-- Definition: a checkout is the events of a person with one checkout id; an event without one belongs to the id last used in the
--   session since the person's last order, else to the checkout without an id, which a checkout_started begins anew. Step 0 is
--   checkout_started. The others are those of checkout_step_viewed, checkout_step_completed and payment_info_entered, by their
--   number; entered_at is the first such event. completed_at is the first checkout_step_completed of the step, else the first
--   event of a later step at or after entered_at (who goes back goes on again), else the order after it. outcome: left at the
--   furthest step of a checkout without an order, completed elsewhere. started_at and last_at are the first and the last event of the checkout. value and currency are what
--   its events, the order left out, told last (value, else revenue), the same at every step.
WITH moves AS (
  SELECT
    c.*,
    o.order_id AS counted_order,
    COUNT(o.order_id) OVER (
      PARTITION BY c.person_key ORDER BY c.touchpoint_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS orders_before
  FROM commerce_events AS c
  LEFT JOIN (SELECT source, event_id, order_id FROM counted_orders WHERE event_name = 'order_completed') AS o
    ON o.source = c.source AND o.event_id = c.event_id
  WHERE c.person_key IS NOT NULL
    AND (
      c.event_name IN ('checkout_started', 'checkout_step_viewed', 'checkout_step_completed', 'payment_info_entered')
      OR o.order_id IS NOT NULL
    )
),
known AS (
  SELECT
    moves.*,
    COALESCE(
      checkout_id,
      LAST_VALUE(checkout_id IGNORE NULLS) OVER (
        PARTITION BY person_key, session_key, orders_before ORDER BY touchpoint_number
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      )
    ) AS known_id
  FROM moves
),
begun AS (
  SELECT
    known.*,
    CASE WHEN known_id IS NULL THEN orders_before ELSE 0 END AS order_part,
    CASE WHEN known_id IS NULL THEN session_key ELSE 0 END AS session_part,
    CASE
      WHEN known_id IS NULL
        THEN COUNT(CASE WHEN event_name = 'checkout_started' AND known_id IS NULL THEN 1 END) OVER (
          PARTITION BY person_key, session_key, orders_before ORDER BY touchpoint_number
          ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )
      ELSE 0
    END AS start_part,
    COALESCE(known_id, '') AS id_part,
    CASE WHEN counted_order IS NULL THEN COALESCE(value, revenue) END AS told_value,
    CASE WHEN counted_order IS NULL AND COALESCE(value, revenue) IS NOT NULL THEN currency END AS told_currency
  FROM known
),
keyed AS (
  SELECT
    begun.*,
    person_key * 16777216
      + MIN(touchpoint_number) OVER of_checkout AS checkout_key,
    MIN(event_time) OVER of_checkout AS started_at,
    MAX(event_time) OVER of_checkout AS last_at,
    MIN(CASE WHEN counted_order IS NOT NULL THEN event_time END) OVER of_checkout AS ordered_at,
    MIN(counted_order) OVER of_checkout AS checkout_order,
    CASE WHEN event_name = 'checkout_started' THEN 0 WHEN counted_order IS NULL THEN step END AS step_number,
    LAST_VALUE(told_value IGNORE NULLS) OVER in_order AS checkout_value,
    LAST_VALUE(told_currency IGNORE NULLS) OVER in_order AS checkout_currency
  FROM begun
  WINDOW
    of_checkout AS (PARTITION BY person_key, id_part, order_part, session_part, start_part),
    in_order AS (
      PARTITION BY person_key, id_part, order_part, session_part, start_part ORDER BY touchpoint_number
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
),
entries AS (
  SELECT
    checkout_key,
    step_number,
    MIN(person_key) AS person_key,
    MIN_BY(session_key, touchpoint_number) AS session_key,
    MAX_BY(account_id, touchpoint_number) AS account_id,
    MIN_BY(channel, touchpoint_number) AS channel,
    MIN_BY(device, CASE WHEN device IS NOT NULL THEN touchpoint_number END) AS device,
    MIN(checkout_id) AS checkout_id,
    MIN_BY(step_name, CASE WHEN step_name IS NOT NULL THEN touchpoint_number END) AS step_name,
    MIN(event_time) AS entered_at,
    MIN(CASE WHEN event_name = 'checkout_step_completed' THEN event_time END) AS told_completed_at,
    MIN(started_at) AS started_at,
    MIN(last_at) AS last_at,
    MIN(ordered_at) AS ordered_at,
    MIN(checkout_order) AS order_id,
    MIN(checkout_value) AS value,
    MIN(checkout_currency) AS currency
  FROM keyed
  WHERE step_number IS NOT NULL
  GROUP BY checkout_key, step_number
),
went_on AS (
  SELECT e.checkout_key, e.step_number, MIN(k.event_time) AS later_at
  FROM entries AS e
  JOIN keyed AS k
    ON k.checkout_key = e.checkout_key AND k.step_number > e.step_number AND k.event_time >= e.entered_at
  GROUP BY e.checkout_key, e.step_number
),
followed AS (
  SELECT
    entries.*,
    l.later_at,
    entries.step_number = MAX(entries.step_number) OVER (PARTITION BY entries.checkout_key) AS furthest
  FROM entries
  LEFT JOIN went_on AS l ON l.checkout_key = entries.checkout_key AND l.step_number = entries.step_number
)
SELECT
  person_key,
  session_key,
  account_id,
  checkout_key,
  checkout_id,
  step_number,
  CASE WHEN step_number = 0 THEN COALESCE(step_name, 'checkout_started') ELSE step_name END AS step_name,
  channel,
  device,
  entered_at,
  COALESCE(
    told_completed_at,
    later_at,
    CASE WHEN ordered_at >= entered_at THEN ordered_at END
  ) AS completed_at,
  CASE WHEN furthest AND order_id IS NULL THEN 'left' ELSE 'completed' END AS outcome,
  started_at,
  last_at,
  order_id,
  ordered_at,
  value,
  currency
FROM followed
