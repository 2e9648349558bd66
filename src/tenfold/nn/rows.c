// The decoder layers of a Llama-architecture model for a few rows at a time, on processors with AVX512-BF16.
//
// Every sum has one order that depends on nothing but the row itself: a product adds its inputs pair by pair, attention
// adds the slots one by one, and what a row must not see adds a zero. So a token's bits are the same in a pass of any width,
// as part of a chain or of a tree, whoever its neighbours are. Weights and the inputs of products are bf16, sums float32.
//
// N rows of a pass (B texts, each with K tokens of its own), D model width, H heads, E head width, S slots of the cache
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define PANEL 32          // outputs of a panel: two vectors
#define TILE 12           // rows whose sums fit into registers beside a panel
#define QUERIES 48        // queries whose scores are kept at once
#define AHEAD 2048        // bytes that the weights are fetched ahead

typedef struct {
    const uint16_t *panels;  // [outputs / 32][inputs / 2][32][2], zeros where there is no weight
    const float *bias;       // [outputs] or NULL
    long inputs, outputs;
} Matrix;

typedef struct {
    const float *attention_norm, *mlp_norm;
    Matrix qkv, output, gate_up, down;
} Layer;

typedef struct {
    long width, heads, kv_heads, head_width;
    float eps;
    int threads;
} Shape;

typedef struct {
    long batch;               // texts that take part; their tokens stand one text after the other
    const long *rows;         // [B] their rows of the cache
    const long *starts;       // [B + 1] their first tokens; the last number is N
    const long *lengths;      // [B] cached tokens
    const float *rotation;    // [N][E / 2][2] cosine and sine
    const uint8_t *sees;      // [K][K], where all have K tokens: which of the new ones each sees; NULL: itself and those before
    const uint8_t *visible;   // [N][visible_stride], NULL or in the place of `sees`: which slots each token sees, old and new
    long visible_stride;
    float *cache;             // keys and values, [layer][2][B * kv heads][S][E]
    long layer_stride, part_stride, head_stride;
} Pass;

static inline long least(long a, long b) { return a < b ? a : b; }

// e^x; Cephes' polynomial, within 2 units in the last place
static inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.0f)), _mm512_set1_ps(-87.3f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline __mmask16 lanes_from(long start, long end) {
    return end - start >= LANES ? 0xFFFF : (__mmask16)((1u << (end - start)) - 1);
}

static inline void store_bf16(uint16_t *to, __m512 x) { _mm256_storeu_si256((void *)to, (__m256i)_mm512_cvtneps_pbh(x)); }

// ---- products ----

// The inputs of a product as bf16, [N][stride]; `norm`: RMSNorm first; `gated`: silu of the first half times the second.
static void prepare(const float *x, const float *norm, int gated, float eps, long rows, long inputs, uint16_t *to, long stride, int threads) {
    long row_width = gated ? 2 * inputs : inputs;
#pragma omp parallel for num_threads(threads) schedule(static) if (rows > 2 * TILE)
    for (long n = 0; n < rows; n++) {
        const float *row = x + n * row_width;
        float scale = 1.0f;
        if (norm) {
            __m512 squares = _mm512_setzero_ps();
            for (long i = 0; i < inputs; i += LANES) {
                __m512 v = _mm512_maskz_loadu_ps(lanes_from(i, inputs), row + i);
                squares = _mm512_fmadd_ps(v, v, squares);
            }
            scale = 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / (float)inputs + eps);
        }
        for (long i = 0; i < stride; i += LANES) {
            __mmask16 lanes = i < inputs ? lanes_from(i, inputs) : 0;
            __m512 v = _mm512_maskz_loadu_ps(lanes, row + i);
            if (norm) v = _mm512_mul_ps(_mm512_mul_ps(v, _mm512_maskz_loadu_ps(lanes, norm + i)), _mm512_set1_ps(scale));
            if (gated) {
                __m512 up = _mm512_maskz_loadu_ps(lanes, row + inputs + i);
                __m512 rest = _mm512_add_ps(_mm512_set1_ps(1.0f), exponential(_mm512_sub_ps(_mm512_setzero_ps(), v)));
                v = _mm512_mul_ps(_mm512_div_ps(v, rest), up);
            }
            store_bf16(to + n * stride + i, v);
        }
    }
}

// `count` rows times one panel; every sum runs over the pairs of inputs in order.
static inline __attribute__((always_inline)) void tile(
    const int count, const uint16_t *x, long stride, const uint16_t *panel, long pairs, const Matrix *m, long first, float *y, int add) {
    __m512 sum[TILE][2];
#pragma GCC unroll 12
    for (int n = 0; n < count; n++) sum[n][0] = sum[n][1] = _mm512_setzero_ps();
    for (long p = 0; p < pairs; p++) {
        const char *weights = (const char *)(panel + p * 2 * PANEL);
        _mm_prefetch(weights + AHEAD, _MM_HINT_T0);
        _mm_prefetch(weights + AHEAD + 64, _MM_HINT_T0);
        __m512bh left = (__m512bh)_mm512_loadu_si512(weights), right = (__m512bh)_mm512_loadu_si512(weights + 64);
#pragma GCC unroll 12
        for (int n = 0; n < count; n++) {
            int32_t both;
            memcpy(&both, x + n * stride + 2 * p, 4);
            __m512bh pair = (__m512bh)_mm512_set1_epi32(both);
            sum[n][0] = _mm512_dpbf16_ps(sum[n][0], left, pair);
            sum[n][1] = _mm512_dpbf16_ps(sum[n][1], right, pair);
        }
    }
#pragma GCC unroll 12
    for (int n = 0; n < count; n++)
        for (int half = 0; half < 2; half++) {
            long o = first + half * LANES;
            if (o >= m->outputs) continue;
            __mmask16 lanes = lanes_from(o, m->outputs);
            float *to = y + n * m->outputs + o;
            __m512 v = sum[n][half];
            if (m->bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(lanes, m->bias + o));
            if (add) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(lanes, to));
            _mm512_mask_storeu_ps(to, lanes, v);
        }
}

static void product(const Matrix *m, const uint16_t *x, long stride, float *y, long rows, int add, int threads) {
    long pairs = (m->inputs + 1) / 2, panels = (m->outputs + PANEL - 1) / PANEL, tiles = (rows + TILE - 1) / TILE;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long panel = 0; panel < panels; panel++)
        for (long t = 0; t < tiles; t++) {
            long from = rows * t / tiles, count = rows * (t + 1) / tiles - from;
            const uint16_t *weights = m->panels + panel * pairs * 2 * PANEL;
#define CASE(k) case k: tile(k, x + from * stride, stride, weights, pairs, m, panel * PANEL, y + from * m->outputs, add); break;
            switch (count) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) }
        }
}

static long even_lanes(long inputs) { return (inputs + LANES - 1) / LANES * LANES; }

// y [N][outputs] (+)= x W^T + bias
static void project(const Matrix *m, const float *x, const float *norm, int gated, float eps, uint16_t *scratch, float *y, long rows, int add, int threads) {
    long stride = even_lanes(m->inputs);
    prepare(x, norm, gated, eps, rows, m->inputs, scratch, stride, threads);
    product(m, scratch, stride, y, rows, add, threads);
}

// y [N][outputs] = x [N][inputs] W^T + bias
void rows_linear(const Matrix *m, const float *x, float *y, long rows, int threads) {
    uint16_t *scratch = malloc(sizeof(uint16_t) * rows * even_lanes(m->inputs));
    project(m, x, NULL, 0, 0.0f, scratch, y, rows, 0, threads);
    free(scratch);
}

// ---- attention ----

// Turns queries and keys to their positions, scales the queries, and files keys and values in the cache.
static void rotate_and_file(const Shape *s, const Pass *p, long layer, float *qkv) {
    long wide = (s->heads + 2 * s->kv_heads) * s->head_width, half = s->head_width / 2;
    float query_scale = 1.0f / sqrtf((float)s->head_width);
    long tokens = p->starts[p->batch];
#pragma omp parallel for num_threads(s->threads) schedule(static) if (tokens > 2 * TILE)
    for (long n = 0; n < tokens; n++) {
        const float *turn = p->rotation + n * s->head_width;
        for (long h = 0; h < s->heads + s->kv_heads; h++) {
            float *head = qkv + n * wide + h * s->head_width, scale = h < s->heads ? query_scale : 1.0f;
            for (long f = 0; f < half; f++) {
                float a = head[2 * f], b = head[2 * f + 1], c = turn[2 * f], d = turn[2 * f + 1];
                head[2 * f] = (a * c - b * d) * scale;
                head[2 * f + 1] = (a * d + b * c) * scale;
            }
        }
        long text = 0;
        while (p->starts[text + 1] <= n) text++;
        long slot = p->lengths[text] + n - p->starts[text];
        for (int part = 0; part < 2; part++)
            for (long h = 0; h < s->kv_heads; h++)
                memcpy(p->cache + layer * p->layer_stride + part * p->part_stride + (p->rows[text] * s->kv_heads + h) * p->head_stride + slot * s->head_width,
                       qkv + n * wide + (s->heads + part * s->kv_heads + h) * s->head_width, sizeof(float) * s->head_width);
    }
}

// scores[q][slot] of up to 4 queries against the 16 keys in `keys_t` [E][16].
static inline __attribute__((always_inline)) void score(const int count, const float *const *query, const float *keys_t, long width, float *const *scores) {
    __m512 sum[4];
    for (int q = 0; q < count; q++) sum[q] = _mm512_setzero_ps();
    for (long e = 0; e < width; e++) {
        __m512 key = _mm512_loadu_ps(keys_t + e * LANES);
        for (int q = 0; q < count; q++) sum[q] = _mm512_fmadd_ps(_mm512_set1_ps(query[q][e]), key, sum[q]);
    }
    for (int q = 0; q < count; q++) _mm512_storeu_ps(scores[q], sum[q]);
}

// Scores to e^(score - largest), 0 where the query must not look; `end` slots, of which `length` are older than the pass.
static void weigh(float *scores, long end, long length, long k, long tokens, const uint8_t *sees, const uint8_t *visible) {
    for (long slot = 0; visible && slot < end; slot++)
        if (!visible[slot]) scores[slot] = -INFINITY;
    for (long slot = length; !visible && slot < end; slot++)
        if (sees ? !sees[k * tokens + slot - length] : slot - length > k) scores[slot] = -INFINITY;
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (long slot = 0; slot < end; slot += LANES)
        most = _mm512_max_ps(most, _mm512_mask_loadu_ps(most, lanes_from(slot, end), scores + slot));
    __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (long slot = 0; slot < end; slot += LANES) {
        __m512 v = _mm512_loadu_ps(scores + slot);
        __mmask16 seen = lanes_from(slot, end) & _mm512_cmp_ps_mask(v, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ);
        _mm512_storeu_ps(scores + slot, _mm512_maskz_mov_ps(seen, exponential(_mm512_sub_ps(v, largest))));
    }
}

// The weighted mean of the values for up to 4 queries, slot by slot, 64 places of the head at a time.
static inline __attribute__((always_inline)) void mix(const int count, float *const *weights, const float *values, long end, long width, float *const *to) {
    for (long e = 0; e < width; e += 4 * LANES) {
        __m512 sum[4][4], total[4];
        __mmask16 lanes[4];
        for (int j = 0; j < 4; j++) lanes[j] = e + j * LANES < width ? lanes_from(e + j * LANES, width) : 0;
        for (int q = 0; q < count; q++) {
            total[q] = _mm512_setzero_ps();
            for (int j = 0; j < 4; j++) sum[q][j] = _mm512_setzero_ps();
        }
        for (long slot = 0; slot < end; slot++) {
            __m512 value[4];
            for (int j = 0; j < 4; j++) value[j] = _mm512_maskz_loadu_ps(lanes[j], values + slot * width + e + j * LANES);
            for (int q = 0; q < count; q++) {
                __m512 weight = _mm512_set1_ps(weights[q][slot]);
                total[q] = _mm512_add_ps(total[q], weight);
                for (int j = 0; j < 4; j++) sum[q][j] = _mm512_fmadd_ps(weight, value[j], sum[q][j]);
            }
        }
        for (int q = 0; q < count; q++)
            for (int j = 0; j < 4; j++) _mm512_mask_storeu_ps(to[q] + e + j * LANES, lanes[j], _mm512_div_ps(sum[q][j], total[q]));
    }
}

#define IN_FOURS(call, rest) switch (rest) { case 1: call(1); break; case 2: call(2); break; case 3: call(3); break; default: call(4); }

// Queries `from` to `to` (numbered k * group + g) of one text and key-value head; scores [QUERIES][S rounded up], keys_t [E][16].
static void attend_some(const Shape *s, const Pass *p, long layer, long text, long kv, long from, long to, const float *qkv, float *mixed, float *scores, float *keys_t) {
    long group = s->heads / s->kv_heads, width = s->head_width, wide = (s->heads + 2 * s->kv_heads) * width, length = p->lengths[text];
    long tokens = p->starts[text + 1] - p->starts[text];
    const float *keys = p->cache + layer * p->layer_stride + (p->rows[text] * s->kv_heads + kv) * p->head_stride, *values = keys + p->part_stride;
    for (long first = from; first < to; first += QUERIES) {
        long count = least(QUERIES, to - first), last_k = (first + count - 1) / group;
        long end = length + (p->sees || p->visible ? tokens : last_k + 1), stride = even_lanes(end);
        const float *query[QUERIES];
        float *weights[QUERIES], *out[QUERIES];
        for (long q = 0; q < count; q++) {
            long k = (first + q) / group, head = kv * group + (first + q) % group, n = p->starts[text] + k;
            query[q] = qkv + n * wide + head * width;
            out[q] = mixed + (n * s->heads + head) * width;
            weights[q] = scores + q * stride;
        }
        for (long slot = 0; slot < end; slot += LANES) {
            long here = least(LANES, end - slot);
            for (long l = 0; l < LANES; l++)
                for (long e = 0; e < width; e++) keys_t[e * LANES + l] = l < here ? keys[(slot + l) * width + e] : 0.0f;
            for (long q = 0; q < count; q += 4) {
                float *at[4];
                for (long i = 0; i < least(4, count - q); i++) at[i] = weights[q + i] + slot;
#define SCORE(n) score(n, query + q, keys_t, width, at)
                IN_FOURS(SCORE, count - q)
            }
        }
        for (long q = 0; q < count; q++) {
            long k = (first + q) / group;
            const uint8_t *visible = p->visible ? p->visible + (p->starts[text] + k) * p->visible_stride : NULL;
            weigh(weights[q], end, length, k, tokens, p->sees, visible);
        }
        for (long q = 0; q < count; q += 4) {
#define MIX(n) mix(n, weights + q, values, end, width, out + q)
            IN_FOURS(MIX, count - q)
        }
    }
}

static void attend(const Shape *s, const Pass *p, long layer, const float *qkv, float *mixed) {
    long group = s->heads / s->kv_heads, lists = p->batch * s->kv_heads, longest = 0, most = 0;
    for (long text = 0; text < p->batch; text++) {
        long tokens = p->starts[text + 1] - p->starts[text], slots = p->lengths[text] + tokens;
        most = tokens > most ? tokens : most;
        longest = slots > longest ? slots : longest;
    }
    long parts = lists % s->threads ? least(s->threads, group * most) : 1;
    if (group * most / parts > QUERIES) parts = (group * most + QUERIES - 1) / QUERIES;
#pragma omp parallel for num_threads(s->threads) schedule(dynamic)
    for (long task = 0; task < lists * parts; task++) {
        long list = task / parts, part = task % parts;
        float *scores = malloc(sizeof(float) * QUERIES * (even_lanes(longest) + LANES));
        float *keys_t = malloc(sizeof(float) * LANES * s->head_width);
        long text = list / s->kv_heads, queries = group * (p->starts[text + 1] - p->starts[text]);
        attend_some(s, p, layer, text, list % s->kv_heads, queries * part / parts, queries * (part + 1) / parts, qkv, mixed, scores, keys_t);
        free(keys_t);
        free(scores);
    }
}

// Layers `first` to `end` of the list over x [N][D], in place; new keys and values go to the cache.
void rows_layers(const Layer *layers, const Shape *s, const Pass *p, long first, long end, float *x) {
    if (first >= end) return;
    long rows = p->starts[p->batch], wide = (s->heads + 2 * s->kv_heads) * s->head_width, inner = layers[first].down.inputs;
    long widest = inner > s->width ? inner : s->width;
    widest = widest > s->heads * s->head_width ? widest : s->heads * s->head_width;
    float *qkv = malloc(sizeof(float) * rows * wide), *mixed = malloc(sizeof(float) * rows * s->heads * s->head_width);
    float *gate_up = malloc(sizeof(float) * rows * 2 * inner);
    uint16_t *scratch = malloc(sizeof(uint16_t) * rows * even_lanes(widest));
    for (long l = first; l < end; l++) {
        const Layer *layer = layers + l;
        project(&layer->qkv, x, layer->attention_norm, 0, s->eps, scratch, qkv, rows, 0, s->threads);
        rotate_and_file(s, p, l, qkv);
        attend(s, p, l, qkv, mixed);
        project(&layer->output, mixed, NULL, 0, s->eps, scratch, x, rows, 1, s->threads);
        project(&layer->gate_up, x, layer->mlp_norm, 0, s->eps, scratch, gate_up, rows, 0, s->threads);
        project(&layer->down, gate_up, NULL, 1, s->eps, scratch, x, rows, 1, s->threads);
    }
    free(qkv);
    free(mixed);
    free(gate_up);
    free(scratch);
}
