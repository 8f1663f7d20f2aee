/** Paints a game state. Colours are the page's, so that a paddle is its player's colour everywhere. */

import { BALL, FIELD, type GameState, PADDLE, type Pair } from "./game.js";

export const COLOURS = { left: "#5ce1e6", right: "#ffa45c", ball: "#f4f5ff", ground: "#0f1228" } as const;
/** Positions of the ball in earlier frames that make its tail. */
const TAIL = 10;

export class Renderer {
  readonly #context: CanvasRenderingContext2D;
  readonly #scale: number;
  readonly #tail: { x: number; y: number }[] = [];

  constructor(canvas: HTMLCanvasElement) {
    const context = canvas.getContext("2d", { alpha: false });
    if (context === null) throw new Error("This browser cannot draw the game.");
    this.#context = context;
    this.#scale = canvas.width / FIELD.width;
  }

  paint(state: GameState, names: Pair<string>, message: string): void {
    const draw = this.#context;
    draw.setTransform(this.#scale, 0, 0, this.#scale, 0, 0);
    draw.fillStyle = COLOURS.ground;
    draw.fillRect(0, 0, FIELD.width, FIELD.height);
    this.#net();
    this.#words(state, names, message);
    this.#paddle(PADDLE.inset, state.paddles[0], COLOURS.left);
    this.#paddle(FIELD.width - PADDLE.inset - PADDLE.width, state.paddles[1], COLOURS.right);
    if (state.phase === "play") this.#ball(state.ball);
    else this.#tail.length = 0;
  }

  #net(): void {
    const draw = this.#context;
    draw.strokeStyle = "#363d6b";
    draw.lineWidth = 3;
    draw.setLineDash([10, 12]);
    draw.beginPath();
    draw.moveTo(FIELD.width / 2, 6);
    draw.lineTo(FIELD.width / 2, FIELD.height);
    draw.stroke();
    draw.setLineDash([]);
  }

  #words(state: GameState, names: Pair<string>, message: string): void {
    const draw = this.#context;
    const quarter = FIELD.width / 4;
    draw.textAlign = "center";
    draw.textBaseline = "alphabetic";
    draw.font = "700 72px system-ui, sans-serif";
    draw.fillStyle = "#3f4780";
    draw.fillText(String(state.score[0]), quarter, 112);
    draw.fillText(String(state.score[1]), 3 * quarter, 112);
    draw.font = "600 15px system-ui, sans-serif";
    draw.fillStyle = COLOURS.left;
    draw.fillText(names[0], quarter, 34, 2 * quarter - 60);
    draw.fillStyle = COLOURS.right;
    draw.fillText(names[1], 3 * quarter, 34, 2 * quarter - 60);
    if (message !== "") {
      draw.font = "700 26px system-ui, sans-serif";
      draw.fillStyle = COLOURS.ball;
      draw.fillText(message, FIELD.width / 2, FIELD.height - 90, FIELD.width - 40);
    }
  }

  #paddle(x: number, y: number, colour: string): void {
    const draw = this.#context;
    draw.fillStyle = `${colour}33`;
    draw.beginPath();
    draw.roundRect(x - 4, y - 4, PADDLE.width + 8, PADDLE.height + 8, 9);
    draw.fill();
    draw.fillStyle = colour;
    draw.beginPath();
    draw.roundRect(x, y, PADDLE.width, PADDLE.height, PADDLE.width / 2);
    draw.fill();
  }

  #ball({ x, y }: { x: number; y: number }): void {
    const draw = this.#context;
    this.#tail.push({ x, y });
    if (this.#tail.length > TAIL) this.#tail.shift();
    this.#tail.forEach((point, index) => {
      draw.globalAlpha = ((index + 1) / TAIL) ** 2 * 0.3;
      disc(draw, point.x, point.y, (BALL.size / 2) * ((index + 1) / TAIL));
    });
    draw.globalAlpha = 1;
    disc(draw, x, y, BALL.size / 2);
  }
}

function disc(draw: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  draw.fillStyle = COLOURS.ball;
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.fill();
}
