/**
 * What to do when a transport stops working: a table, no timers, no I/O.
 *
 *     steady ──connecting──> connecting ──connected──> steady
 *        │                       └──CONNECT or failed──> broken
 *     steady ──disconnected──> waiting ──WAIT──> restarting ──ok──> settling ──connected──> steady
 *        └──failed, network─────────────────────────^  └─error or SETTLE─┐  └─SETTLE or failed─┐
 *                                                                        └──────> broken <─────┘
 *
 * `disconnected` often heals by itself, so it gets a moment; `failed` never does, and a network that is known to have
 * changed need not be waited for. An ICE restart keeps the DTLS session and everything on it (RFC 8445 section 2.4
 * describes the restart, RFC 8842 section 5.1 why DTLS lives on), so it is tried first; a transport whose restart does
 * not help is `broken`, and its owner builds new ones: {@link WAIT} and {@link SETTLE}, 3 s, after it was disconnected.
 */

/** How long a new transport may take to connect, in milliseconds. */
export const CONNECT = 8_000;
/** How long a `disconnected` transport may take to come back by itself, in milliseconds. */
export const WAIT = 500;
/** How long a restart may take to be accepted, and then to connect, in milliseconds. */
export const SETTLE = 2_500;

export type RecoveryState = "steady" | "connecting" | "waiting" | "restarting" | "settling" | "broken";

export type RecoveryInput =
  | "connecting"
  | "connected"
  | "disconnected"
  | "failed"
  /** The browser says that its network changed. */
  | "network"
  /** The timer that the last step asked for has run out. */
  | "timer"
  /** The restart the last step asked for was accepted, or not. */
  | "restarted"
  | "refused";

export interface Step {
  readonly state: RecoveryState;
  /** What the owner does now. `restart` is answered with `restarted` or `refused`. */
  readonly action?: "restart" | "rebuild";
  /** Milliseconds until `timer` is due. A step without it cancels the timer that is set. */
  readonly timer?: number;
}

const STEADY: Step = { state: "steady" };
const CONNECTING: Step = { state: "connecting", timer: CONNECT };
const WAITING: Step = { state: "waiting", timer: WAIT };
const RESTART: Step = { state: "restarting", action: "restart", timer: SETTLE };
const SETTLING: Step = { state: "settling", timer: SETTLE };
const REBUILD: Step = { state: "broken", action: "rebuild" };

const TABLE: Readonly<Record<RecoveryState, Readonly<Partial<Record<RecoveryInput, Step>>>>> = {
  steady: { connecting: CONNECTING, disconnected: WAITING, failed: RESTART, network: RESTART },
  connecting: { connected: STEADY, failed: REBUILD, timer: REBUILD },
  waiting: { connected: STEADY, failed: RESTART, network: RESTART, timer: RESTART },
  restarting: { restarted: SETTLING, refused: REBUILD, timer: REBUILD },
  settling: { connected: STEADY, failed: REBUILD, network: RESTART, timer: REBUILD },
  broken: {},
};

/** The next step, or null if this input changes nothing in this state. */
export function recover(state: RecoveryState, input: RecoveryInput): Step | null {
  return TABLE[state][input] ?? null;
}
