/* A Transformer in int8 for one thread of a CPU: its encoder, and a decoder that goes on by one token.

Compiled for the machine at hand by native/library.py. Rows of activations are divided by their largest number / 127 and
rounded; weights likewise, once, a scale for each output. Sums of their products are whole numbers, and exact. Numbers
between the products are fp32. Keys and values of tokens lie in a store from which nothing moves: a hypothesis is a list
of places in it. Widths are multiples of 16. */

#ifndef __AVX2__
#error they need AVX2: without, torch is the faster one
#endif

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 32 /* outputs that are computed together, PARTS vectors */
#if defined __AVX512BW__ && defined __AVX512DQ__
#define LANES 16
#define TILE 12 /* rows likewise: 2 * 12 sums, 2 weights and an input: 27 of 32 registers */
#define WIDE(name) _mm512_##name
typedef __m512i Whole;
typedef __m512 Real;
#else
#define LANES 8
#define TILE 4 /* 2 * 4 sums, 2 weights in two halves, and an input in two: 14 of 16 */
#define WIDE(name) _mm256_##name
typedef __m256i Whole;
typedef __m256 Real;
#endif
#define PARTS (BLOCK / LANES)
#define CACHED (1 << 18) /* bytes of weights that all rows meet before others come */
#define INLINE static inline __attribute__((always_inline))

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int16_t Shorts __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef uint16_t Unsigned __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(4 * LANES), aligned(1), may_alias));
typedef int8_t Codes __attribute__((vector_size(LANES), aligned(1), may_alias));

enum { SET, RELU, SWISH, ADD }; /* what becomes of a product: the result, through an activation, or added to it */

typedef struct {
    const uint8_t *weight; /* [outputs / 32, inputs / 4, 32, 4]; 128 more than they are */
    const float *scale, *bias; /* of each output, filled up to a whole block */
    int32_t inputs, outputs;
} Linear;

typedef struct {
    const float *gain, *bias;
    float epsilon;
} Norm;

typedef struct { /* of an encoder, without `query` and `read` */
    Linear own, mix, query, read, inner, outer;
    Norm norms[3];
    int32_t activation;
} Layer;

typedef struct {
    const Layer *layers;
    Norm last;
    int32_t depth, width, heads, inner, post; /* inner: the widest of its feed-forwards */
} Stack;

typedef struct { /* inputs of a product in int8 */
    int8_t *codes;
    float *scales;
    int32_t *totals;
} Rounded;

INLINE Floats load(const float *x) { return *(const Floats *)x; }
INLINE void store(float *x, Floats value) { *(Floats *)x = value; }

/* The greater of two; the second where either is NaN. */
INLINE Floats greater(Floats a, Floats b) { return (Floats)WIDE(max_ps)((Real)a, (Real)b); }

INLINE float sum(Floats x) {
#if LANES == 16
    return _mm512_reduce_add_ps((__m512)x);
#else
    float total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
#endif
}

INLINE float highest(Floats x) {
#if LANES == 16
    return _mm512_reduce_max_ps((__m512)x);
#else
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
#endif
}

/* Adds to each lane the products of its four weights and the four inputs in `inputs`. */
INLINE Ints dot(Ints total, Bytes weights, int32_t inputs) {
#if LANES == 16 && defined __AVX512VNNI__
    return (Ints)_mm512_dpbusd_epi32((__m512i)total, (__m512i)weights, _mm512_set1_epi32(inputs));
#else /* in 16 bits: the products of bytes, added up in pairs, would not fit */
    Shorts both = (Shorts)((Ints){} + inputs), first = (both << 8) >> 8, second = both >> 8;
    Shorts even = (Shorts)weights & 255, odd = (Shorts)((Unsigned)weights >> 8);
    total += (Ints)WIDE(madd_epi16)((Whole)even, (Whole)first);
    return total + (Ints)WIDE(madd_epi16)((Whole)odd, (Whole)second);
#endif
}

/* e^x to 2 units in the last place, for x <= 0 and NaN; as in Cephes: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]. */
INLINE Floats exponential(Floats x) {
    const Floats rounder = (Floats){} + 12582912.0f, least = (Floats){} - 87.0f;
    x = greater(least, x);
    Floats shifted = x * 1.44269504088896341f + rounder;
    Ints power = (Ints)shifted - (Ints)rounder;
    Floats n = shifted - rounder, r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Floats p = (Floats){} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Floats)((power + 127) << 23);
}

/* NaN and infinity, which have no codes, are left in the scale. */
static void quantize(const float *x, int width, int8_t *codes, float *scale, int32_t *total) {
    Floats peak = {}, amiss = {};
    for (int i = 0; i < width; i += LANES) {
        Floats value = load(x + i);
        peak = greater(greater(value, -value), peak);
        amiss += value * 0.0f;
    }
    float unit = fmaxf(highest(peak) / 127, FLT_MIN), inverse = 1 / unit;
    const Floats rounder = (Floats){} + 12582912.0f;
    Ints sums = {};
    for (int i = 0; i < width; i += LANES) {
        Ints whole = (Ints)(load(x + i) * inverse + rounder) - (Ints)rounder;
        *(Codes *)(codes + i) = __builtin_convertvector(whole, Codes);
        sums += whole;
    }
    *scale = unit + sum(amiss);
    *total = 0;
    for (int i = 0; i < LANES; i++) *total += sums[i];
}

INLINE void put(float *y, Floats value, int mode) {
    if (mode == ADD) value += load(y);
    if (mode == RELU) value = greater(value, (Floats){});
    if (mode == SWISH) { /* x / (1 + e^-x), by e^-|x| */
        Floats small = exponential(-greater(value, -value)), whole = 1.0f / (1.0f + small);
        value *= (Floats)(((Ints)whole & (value > 0)) | ((Ints)(small * whole) & ~(value > 0)));
    }
    store(y, value);
}

/* 32 outputs of `rows` rows, a number known to the compiler. */
INLINE void tile(const Linear *l, int block, Rounded x, float *y, int mode, const int rows) {
    const uint8_t *weight = l->weight + (size_t)block * BLOCK * l->inputs;
    Ints sums[TILE][PARTS] = {};
#pragma GCC unroll 2
    for (int part = 0; part < PARTS; part += 2)
        for (int i = 0; i < l->inputs; i += 4) {
            const uint8_t *at = weight + i * BLOCK + part * 4 * LANES;
            Bytes left = *(const Bytes *)at, right = *(const Bytes *)(at + 4 * LANES);
#pragma GCC unroll 12
            for (int r = 0; r < rows; r++) {
                int32_t inputs;
                memcpy(&inputs, x.codes + (size_t)r * l->inputs + i, 4);
                sums[r][part] = dot(sums[r][part], left, inputs);
                sums[r][part + 1] = dot(sums[r][part + 1], right, inputs);
            }
        }
    int first = block * BLOCK, there = l->outputs - first < BLOCK ? l->outputs - first : BLOCK;
    for (int r = 0; r < rows; r++) {
        float *to = y + (size_t)r * l->outputs + first, rest[BLOCK], *at = there < BLOCK ? rest : to;
        if (there < BLOCK && mode == ADD) memcpy(rest, to, there * sizeof *to);
        for (int part = 0; part < PARTS; part++) {
            int o = part * LANES;
            Floats whole = __builtin_convertvector(sums[r][part] - 128 * x.totals[r], Floats);
            put(at + o, whole * (x.scales[r] * load(l->scale + first + o)) + load(l->bias + first + o), mode);
        }
        if (there < BLOCK) memcpy(to, rest, there * sizeof *to);
    }
}

static void apply(const Linear *l, const float *x, int rows, float *y, int mode, Rounded work) {
    for (int r = 0; r < rows; r++)
        quantize(x + (size_t)r * l->inputs, l->inputs, work.codes + (size_t)r * l->inputs, work.scales + r, work.totals + r);
    int blocks = (l->outputs + BLOCK - 1) / BLOCK, most = CACHED / (BLOCK * l->inputs) + 1;
    for (int start = 0; start < blocks; start += most)
        for (int r = 0; r < rows; r += TILE)
            for (int block = start; block < blocks && block < start + most; block++) {
                Rounded from = {work.codes + (size_t)r * l->inputs, work.scales + r, work.totals + r};
                float *to = y + (size_t)r * l->outputs;
                switch (rows - r) {
#define CASE(n) case n: tile(l, block, from, to, mode, n < TILE ? n : TILE); break;
                    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11)
#undef CASE
                    default: tile(l, block, from, to, mode, TILE);
                }
            }
}

/* Memory; where there is none, the end of the process, and why. */
static void *reserved(size_t bytes) {
    void *room = malloc(bytes ? bytes : 1);
    if (!room) {
        fprintf(stderr, "kakehashi: there is no memory for %zu bytes\n", bytes);
        abort();
    }
    return room;
}

static Rounded rounded(int rows, int width) {
    char *room = reserved((size_t)rows * (width + sizeof(float) + sizeof(int32_t)));
    float *scales = (float *)room;
    return (Rounded){(int8_t *)(room + 8 * (size_t)rows), scales, (int32_t *)(scales + rows)};
}

static void normalize(const Norm *norm, const float *x, int rows, int width, float *y) {
    for (int r = 0; r < rows; r++, x += width, y += width) {
        Floats total = {}, squares = {};
        for (int i = 0; i < width; i += LANES) total += load(x + i);
        float mean = sum(total) / width;
        for (int i = 0; i < width; i += LANES) {
            Floats off = load(x + i) - mean;
            squares += off * off;
        }
        float inverse = 1 / sqrtf(sum(squares) / width + norm->epsilon);
        for (int i = 0; i < width; i += LANES)
            store(y + i, (load(x + i) - mean) * inverse * load(norm->gain + i) + load(norm->bias + i));
    }
}

/* The sums of four vectors. */
INLINE void sum_four(Floats a, Floats b, Floats c, Floats d, float *sums) {
#if LANES == 16
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps((__m512)a, (__m512)b), _mm512_unpackhi_ps((__m512)a, (__m512)b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps((__m512)c, (__m512)d), _mm512_unpackhi_ps((__m512)c, (__m512)d));
    __m512d low = _mm512_unpacklo_pd((__m512d)ab, (__m512d)cd), high = _mm512_unpackhi_pd((__m512d)ab, (__m512d)cd);
    __m512 whole = _mm512_add_ps((__m512)low, (__m512)high);
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(whole), _mm512_extractf32x8_ps(whole, 1));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
#else
    sums[0] = sum(a), sums[1] = sum(b), sums[2] = sum(c), sums[3] = sum(d);
#endif
}

/* What the weights of one head mix, `chunks` vectors of it, a number known to the compiler. */
INLINE void mix(const float *base, size_t unit, const int32_t *places, int count, const float *weights, float *mixed,
                const int chunks) {
    Floats totals[4] = {};
    for (int j = 0; j < count; j++) {
        const float *value = base + unit * places[j];
#pragma GCC unroll 4
        for (int c = 0; c < chunks; c++) totals[c] += weights[j] * load(value + c * LANES);
    }
    for (int c = 0; c < chunks; c++) store(mixed + c * LANES, totals[c]);
}

/* One query over `count` keys, which begin at base + unit * places[j], each with its value `width` behind it. `weights`:
room for heads * (count + 16) numbers, where the weights of head h begin at h * (count up to a multiple of 16). */
static void attend(const float *query, const float *base, size_t unit, const int32_t *places, int count, int width,
                   int heads, float *weights, float *mixed) {
    int size = width / heads, padded = (count + LANES - 1) / LANES * LANES;
    for (int j = 0; j < count; j += 4) {
        const float *keys[4];
        for (int i = 0; i < 4; i++) keys[i] = base + unit * places[j + i < count ? j + i : j];
        for (int h = 0, c = 0; h < heads; h++) {
            Floats products[4] = {};
            for (int end = c + size; c < end; c += LANES)
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) products[i] += load(query + c) * load(keys[i] + c);
            sum_four(products[0], products[1], products[2], products[3], weights + h * padded + j);
        }
    }
    for (int h = 0; h < heads; h++) {
        float *own = weights + h * padded;
        for (int j = count; j < padded; j++) own[j] = -FLT_MAX;
        Floats peak = load(own), total = {};
        for (int j = LANES; j < padded; j += LANES) peak = greater(load(own + j), peak);
        float most = highest(peak);
        for (int j = 0; j < padded; j += LANES) {
            Floats value = exponential(load(own + j) - most);
            store(own + j, value);
            total += value;
        }
        float inverse = 1 / sum(total);
        for (int j = 0; j < padded; j += LANES) store(own + j, load(own + j) * inverse);
    }
    for (int h = 0; h < heads; h++)
        for (int c = h * size, left = size; left > 0; c += 4 * LANES, left -= 4 * LANES) {
            const float *values = base + width + c, *own = weights + h * padded;
            if (left >= 4 * LANES) mix(values, unit, places, count, own, mixed + c, 4);
            else if (left == 3 * LANES) mix(values, unit, places, count, own, mixed + c, 3);
            else if (left == 2 * LANES) mix(values, unit, places, count, own, mixed + c, 2);
            else mix(values, unit, places, count, own, mixed + c, 1);
        }
}

/* x + f(norm(x)) or norm(x + f(x)): what f reads, and what is left to do behind it. */
static const float *before(const Stack *s, const Norm *norm, const float *x, int rows, float *normed) {
    if (s->post) return x;
    normalize(norm, x, rows, s->width, normed);
    return normed;
}

static void after(const Stack *s, const Norm *norm, float *x, int rows) {
    if (s->post) normalize(norm, x, rows, s->width, x);
}

static void feed(const Stack *s, const Layer *layer, int norm, float *x, int rows, float *room, Rounded work) {
    const float *from = before(s, &layer->norms[norm], x, rows, room);
    float *inner = room + (size_t)rows * s->width;
    apply(&layer->inner, from, rows, inner, layer->activation, work);
    apply(&layer->outer, inner, rows, x, ADD, work);
    after(s, &layer->norms[norm], x, rows);
}

/* Turns the pairs (c, c + size / 2) of each head of the queries and keys with which rows of own [rows, 3 * width] begin,
by the cosines and sines in turns [rows, 2, size / 2]; by nothing where that is NULL. */
static void turn(const Stack *s, float *own, int rows, const float *turns) {
    int size = s->width / s->heads, half = size / 2;
    for (int r = 0; turns && r < rows; r++, own += 3 * s->width, turns += size)
        for (int h = 0; h < 2 * s->heads; h++) {
            float *a = own + h * size, *b = a + half;
            for (int c = 0; c < half; c++) {
                float first = a[c], second = b[c];
                a[c] = first * turns[c] - second * turns[half + c];
                b[c] = second * turns[c] + first * turns[half + c];
            }
        }
}

/* y = x W^T + b. x [rows, inputs], y [rows, outputs]. */
void linear(const Linear *l, const float *x, int32_t rows, float *y) {
    Rounded work = rounded(rows, l->inputs);
    apply(l, x, rows, y, SET, work);
    free(work.scales);
}

/* x [tokens, width]: embedded; becomes the states. Sentence n has tokens starts[n] to starts[n + 1].
turns [tokens, ..]: of rotary positions, as `turn` has them, or NULL. */
void encode(const Stack *s, float *x, int32_t sentences, const int64_t *starts, const float *turns) {
    int width = s->width, rows = starts[sentences], widest = s->inner > 2 * width ? s->inner : 2 * width, longest = 0;
    for (int n = 0; n < sentences; n++) longest = starts[n + 1] - starts[n] > longest ? starts[n + 1] - starts[n] : longest;
    float *room = reserved(((size_t)rows * (2 * width + widest) + s->heads * (longest + 2 * LANES)) * sizeof *room);
    float *own = room + (size_t)rows * width, *weights = own + (size_t)rows * (width + widest);
    int32_t *places = reserved((longest + 1) * sizeof *places);
    Rounded work = rounded(rows, widest);
    for (int j = 0; j < longest; j++) places[j] = j;
    for (int i = 0; i < s->depth; i++) {
        const Layer *layer = &s->layers[i];
        apply(&layer->own, before(s, &layer->norms[0], x, rows, room), rows, own, SET, work);
        turn(s, own, rows, turns);
        for (int n = 0; n < sentences; n++)
            for (int r = starts[n]; r < starts[n + 1]; r++)
                attend(own + (size_t)r * 3 * width, own + (size_t)starts[n] * 3 * width + width, 3 * width, places,
                       starts[n + 1] - starts[n], width, s->heads, weights, room + (size_t)r * width);
        apply(&layer->mix, room, rows, x, ADD, work);
        after(s, &layer->norms[0], x, rows);
        feed(s, layer, 1, x, rows, room, work);
    }
    if (!s->post) normalize(&s->last, x, rows, width, x);
    free(work.scales), free(places), free(room);
}

/* The next token of each hypothesis. x [rows, width]: embedded; becomes the hidden states.
held [.., depth, 2, width]: keys and values of tokens; those of row r are at places[r * stride], ..., lengths[r] of them,
then the new one's. memory [.., depth, 2, width]: of the source; row r reads from starts[sentences[r / fanout]] on.
aligned [rows, longest] or NULL: weights of layer `aligning`, the mean of its heads. turns [rows, ..] or NULL: as in
`encode`; keys that are held were turned when they were new. */
void step(const Stack *s, float *x, int32_t rows, float *held, const int32_t *places, int64_t stride,
          const int64_t *lengths, const float *memory, const int64_t *starts, const int64_t *sentences, int32_t fanout,
          int32_t longest, int32_t aligning, float *aligned, const float *turns) {
    int width = s->width, widest = s->inner > 2 * width ? s->inner : 2 * width, most = longest;
    for (int r = 0; r < rows; r++) most = lengths[r] + 1 > most ? lengths[r] + 1 : most;
    size_t unit = (size_t)2 * width * s->depth;
    float *room = reserved(((size_t)rows * (2 * width + widest) + s->heads * (most + 2 * LANES)) * sizeof *room);
    float *own = room + (size_t)rows * width, *weights = own + (size_t)rows * (width + widest);
    int32_t *source = reserved((longest + 1) * sizeof *source);
    Rounded work = rounded(rows, widest);
    for (int i = 0; i < s->depth; i++) {
        const Layer *layer = &s->layers[i];
        size_t part = (size_t)i * 2 * width;
        apply(&layer->own, before(s, &layer->norms[0], x, rows, room), rows, own, SET, work);
        turn(s, own, rows, turns);
        for (int r = 0; r < rows; r++) {
            const float *new = own + (size_t)r * 3 * width;
            memcpy(held + unit * places[r * stride + lengths[r]] + part, new + width, 2 * width * sizeof *new);
            attend(new, held + part, unit, places + r * stride, lengths[r] + 1, width, s->heads, weights,
                   room + (size_t)r * width);
        }
        apply(&layer->mix, room, rows, x, ADD, work);
        after(s, &layer->norms[0], x, rows);
        apply(&layer->query, before(s, &layer->norms[1], x, rows, room), rows, own, SET, work);
        for (int r = 0; r < rows; r++) {
            int64_t n = sentences[r / fanout], keys = starts[n + 1] - starts[n];
            for (int j = 0; j < keys; j++) source[j] = j;
            attend(own + (size_t)r * width, memory + unit * starts[n] + part, unit, source, keys, width, s->heads,
                   weights, room + (size_t)r * width);
            if (aligned && i == aligning)
                for (int h = 0; h < s->heads; h++)
                    for (int j = 0; j < keys; j++)
                        aligned[(size_t)r * longest + j] += weights[h * ((keys + LANES - 1) / LANES * LANES) + j] / s->heads;
        }
        apply(&layer->read, room, rows, x, ADD, work);
        after(s, &layer->norms[1], x, rows);
        feed(s, layer, 2, x, rows, room, work);
    }
    if (!s->post) normalize(&s->last, x, rows, width, x);
    free(work.scales), free(source), free(room);
}

/* log(sum of exp(x)) of each row of x [rows, size]; not finite where a number is NaN or +infinity. */
void log_sum_exp(const float *x, int32_t rows, int32_t size, float *y) {
    int whole = size / LANES * LANES;
    for (int r = 0; r < rows; r++, x += size) {
        Floats rest = (Floats){} - INFINITY;
        for (int i = whole; i < size; i++) rest[i - whole] = x[i];
        Floats peak = rest;
        for (int i = 0; i < whole; i += LANES) peak = greater(load(x + i), peak);
        float most = highest(peak);
        Floats total = exponential(rest - most);
        for (int i = 0; i < whole; i += LANES) total += exponential(load(x + i) - most);
        y[r] = most + logf(sum(total));
    }
}

/* The `count` likeliest continuations of the `fanout` hypotheses of each sentence, likeliest first, earlier ones before
equal ones: by totals[row] + scores[row, token] - normalizers[row]. Where there are fewer, `found` is -infinity.
scores [sentences * fanout, size]; what is found: [sentences, count]. */
void best(const float *scores, const float *normalizers, const float *totals, int32_t sentences, int32_t fanout,
          int32_t size, int32_t count, float *found, float *likely, int64_t *parents, int64_t *tokens) {
    for (int n = 0; n < sentences; n++, found += count, likely += count, parents += count, tokens += count) {
        for (int k = 0; k < count; k++) found[k] = -INFINITY, likely[k] = -INFINITY, parents[k] = tokens[k] = 0;
        for (int f = 0; f < fanout; f++, scores += size, normalizers++, totals++) {
            float offset = *totals - *normalizers;
            for (int from = 0; from < size; from += 4 * LANES) {
                int to = from + 4 * LANES <= size ? from + 4 * LANES : size;
                if (to - from == 4 * LANES) {
                    const float *x = scores + from;
                    Floats one = greater(load(x), load(x + LANES)), two = greater(load(x + 2 * LANES), load(x + 3 * LANES));
                    if (!(highest(greater(one, two)) + offset > found[count - 1])) continue;
                }
                for (int i = from; i < to; i++) {
                    float total = scores[i] + offset;
                    if (!(total > found[count - 1])) continue;
                    int k = count - 1;
                    for (; k > 0 && total > found[k - 1]; k--)
                        found[k] = found[k - 1], likely[k] = likely[k - 1], parents[k] = parents[k - 1], tokens[k] = tokens[k - 1];
                    found[k] = total, likely[k] = scores[i] - *normalizers, parents[k] = f, tokens[k] = i;
                }
            }
        }
    }
}
