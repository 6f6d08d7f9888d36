/* CRC-32 as zlib computes it, eight bytes a step (Kounavis and Berry, 2005). zlib's headers are not everywhere. */

#include "kernel.h"

static uint32_t crc_table[8][256];

void
make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) {
            c = c & 1 ? (c >> 1) ^ 0xEDB88320u : c >> 1;
        }
        crc_table[0][i] = c;
    }
    for (int k = 1; k < 8; k++) {
        for (int i = 0; i < 256; i++) {
            uint32_t c = crc_table[k - 1][i];
            crc_table[k][i] = (c >> 8) ^ crc_table[0][c & 0xFF];
        }
    }
}

uint32_t
crc32_of(const unsigned char *at, size_t size, uint32_t start)
{
    uint32_t c = ~start;
    for (; size >= 8; size -= 8, at += 8) {
        uint32_t low = c ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        c = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF]
            ^ crc_table[4][low >> 24] ^ crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]]
            ^ crc_table[0][at[7]];
    }
    while (size--) {
        c = (c >> 8) ^ crc_table[0][(c ^ *at++) & 0xFF];
    }
    return ~c;
}
