/* Algorithm 1 on goal placement, one run after another, as a C programmer would write it.
 *
 * The same step as hfac/algorithms/_hfac.py with its defaults: markov chains, batch 1, uncoupled, forward difference,
 * plain stochastic approximation, critics clipped to their boxes. float32 state; xoshiro128+ instead of threefry.
 *
 * usage: reference RUNS STEPS SEED < parameters   prints nanoseconds per run-step, then x of the first 16 runs.
 * parameters: size slip gamma start_mass lambda, then scale power offset of upper, actor, critic, penalty, entropy,
 * then utilities [S].
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { A = 4, MAX_STATES = 400 };

typedef struct {
    float x[MAX_STATES], theta[MAX_STATES][A], theta_pen[MAX_STATES][A];
    float value[MAX_STATES], value_pen[MAX_STATES], leader[MAX_STATES];
    uint32_t rng[4];
    int s, s_pen;
} Run;

static int num_states, next_state[MAX_STATES][A];
static float slip, gamma_, start_mass, lambda, utility[MAX_STATES];
static float scale[5], power[5], offset[5];

static inline uint32_t rotl(uint32_t v, int k) { return (v << k) | (v >> (32 - k)); }

static inline float uniform(uint32_t *s) {
    uint32_t sum = s[0] + s[3], t = s[1] << 9;
    s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = rotl(s[3], 11);
    return (float)(sum >> 8) * 0x1p-24f;
}

static inline int start(uint32_t *rng) {
    float u = uniform(rng);
    if (u < start_mass) return 0;
    int s = (int)((u - start_mass) / (1 - start_mass) * (float)num_states);
    return s < num_states ? s : num_states - 1;
}

static inline int act(const float *logits, float *p, float u) {
    float top = logits[0], total = 0;
    for (int a = 1; a < A; a++) top = logits[a] > top ? logits[a] : top;
    for (int a = 0; a < A; a++) total += p[a] = expf(logits[a] - top);
    int chosen = A - 1;
    float sum = 0;
    for (int a = 0; a < A; a++) p[a] /= total;
    for (int a = 0; a < A - 1; a++) { sum += p[a]; if (u < sum) { chosen = a; break; } }
    return chosen;
}

static inline int move(uint32_t *rng, int s, int a) {
    float u = uniform(rng);
    if (u < slip) { int b = (int)(u / slip * A); a = b < A ? b : A - 1; }
    return next_state[s][a];
}

static inline float clip(float v, float bound) { return v > bound ? bound : v < -bound ? -bound : v; }

static void advance(Run *run, long k, float value_bound, float leader_bound) {
    float rate[5];
    for (int i = 0; i < 5; i++) rate[i] = scale[i] * powf(1 + (float)k / offset[i], -power[i]);
    float zeta = rate[0], alpha = rate[1], beta = rate[2], w = rate[3], tau = rate[4];
    int s = run->s, s_ = run->s_pen;
    float p[A], p_[A];
    int a = act(run->theta[s], p, uniform(run->rng)), a_ = act(run->theta_pen[s_], p_, uniform(run->rng));
    int n = move(run->rng, s, a), n_ = move(run->rng, s_, a_);

    float goal[MAX_STATES], top = run->x[0], total = 0;
    for (int i = 1; i < num_states; i++) top = run->x[i] > top ? run->x[i] : top;
    for (int i = 0; i < num_states; i++) { goal[i] = expf(run->x[i] - top); total += goal[i]; }
    float r = goal[n] / total, r_ = goal[n_] / total;

    float delta = r - tau * logf(p[a]) + gamma_ * run->value[n] - run->value[s];
    float delta_pen = r_ - tau * logf(p_[a_]) + gamma_ * run->value_pen[n_] - run->value_pen[s_];
    float delta_u = -(1 - gamma_) * utility[s_] + gamma_ * run->leader[n_] - run->leader[s_];

    float push = zeta / (w * (1 - gamma_)), common = push * (r - r_) / total, decay = 1 - zeta * lambda;
    for (int i = 0; i < num_states; i++) run->x[i] = decay * run->x[i] + common * goal[i];
    run->x[n] -= push * r;
    run->x[n_] += push * r_;

    float step = alpha * delta, step_pen = alpha * (delta_pen - w * delta_u);
    for (int b = 0; b < A; b++) {
        run->theta[s][b] += step * ((b == a) - p[b]);
        run->theta_pen[s_][b] += step_pen * ((b == a_) - p_[b]);
    }
    run->value[s] = clip(run->value[s] + beta * delta, value_bound);
    run->value_pen[s_] = clip(run->value_pen[s_] + beta * delta_pen, value_bound);
    run->leader[s_] = clip(run->leader[s_] + beta * delta_u, leader_bound);
    run->s = uniform(run->rng) < gamma_ ? n : start(run->rng);
    run->s_pen = uniform(run->rng) < gamma_ ? n_ : start(run->rng);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: reference RUNS STEPS SEED < parameters\n"); return 2; }
    long runs = atol(argv[1]), steps = atol(argv[2]), seed = atol(argv[3]);
    int size;
    if (scanf("%d %f %f %f %f", &size, &slip, &gamma_, &start_mass, &lambda) != 5) return 2;
    for (int i = 0; i < 5; i++) if (scanf("%f %f %f", &scale[i], &power[i], &offset[i]) != 3) return 2;
    num_states = size * size;
    if (num_states > MAX_STATES) return 2;
    float leader_bound = 0;
    for (int i = 0; i < num_states; i++) {
        if (scanf("%f", &utility[i]) != 1) return 2;
        leader_bound = fabsf(utility[i]) > leader_bound ? fabsf(utility[i]) : leader_bound;
    }
    const int dr[A] = {-1, 0, 1, 0}, dc[A] = {0, 1, 0, -1};
    for (int s = 0; s < num_states; s++) for (int a = 0; a < A; a++) {
        int row = s / size + dr[a], column = s % size + dc[a];
        int inside = row >= 0 && row < size && column >= 0 && column < size;
        next_state[s][a] = inside ? row * size + column : s;
    }
    float value_bound = (1 + scale[4] * logf(A)) / (1 - gamma_);
    Run *all = calloc((size_t)runs, sizeof(Run));
    if (!all) return 1;
    for (long i = 0; i < runs; i++) {
        uint64_t z = (uint64_t)(seed * 1000003 + i + 1) * 0x9E3779B97F4A7C15u;
        for (int j = 0; j < 4; j++) { z ^= z >> 31; z *= 0xBF58476D1CE4E5B9u; all[i].rng[j] = (uint32_t)(z >> 32) | 1u; }
        for (int j = 0; j < 16; j++) uniform(all[i].rng);
        all[i].s = start(all[i].rng);
        all[i].s_pen = start(all[i].rng);
    }
    double began = seconds();
    for (long i = 0; i < runs; i++) for (long k = 0; k < steps; k++) advance(&all[i], k, value_bound, leader_bound);
    printf("%.6f\n", 1e9 * (seconds() - began) / ((double)runs * (double)steps));
    for (long i = 0; i < runs && i < 16; i++)
        for (int s = 0; s < num_states; s++) printf("%.9g%c", all[i].x[s], s + 1 < num_states ? ' ' : '\n');
    free(all);
    return 0;
}
