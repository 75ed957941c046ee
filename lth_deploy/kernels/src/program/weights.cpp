// Decoding of the codings of export/FORMAT.md. The bytes come from a file, so nothing in them is taken for granted.
#include "program/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "program/stored_values.h"

namespace lth {
namespace {

size_t elements_of(const WeightDecl& decl) {
  size_t elements = 1;
  for (int64_t dim : decl.dims) elements *= static_cast<size_t>(dim);  // parse_program bounds the product
  return elements;
}

// A small file must not claim all memory: export/FORMAT.md bounds what stored bytes decode to.
constexpr uint64_t kFreeBytes = uint64_t{64} << 20, kDecodedPerByte = 1024;

void check_budget(const WeightDecl& decl, size_t elements, size_t stored) {
  const uint64_t decoded = uint64_t{elements} * (decl.type == ValueType::kInt8 ? 1 : 4);
  if (decoded > kFreeBytes + kDecodedPerByte * stored) {
    throw Error(std::to_string(stored) + " stored bytes claim " + std::to_string(decoded) + " decoded ones; at most " +
                std::to_string(kFreeBytes) + " and " + std::to_string(kDecodedPerByte) + " for each stored byte are allowed");
  }
}

void expect_count(const char* what, size_t found, size_t wanted) {
  if (found != wanted) {
    throw Error(std::string(what) + ": found " + std::to_string(found) + " instead of " + std::to_string(wanted));
  }
}

void expect_inside(size_t position, size_t elements) {
  if (position >= elements) {
    throw Error("positions: a value lies at " + std::to_string(position) + " of " + std::to_string(elements));
  }
}

// Which units (blocks, or single weights) are kept, in ascending order, and where the values of each are stored.
struct Kept {
  std::vector<uint32_t> unit, stored;

  void append(size_t position, size_t from) {
    unit.push_back(static_cast<uint32_t>(position));
    stored.push_back(static_cast<uint32_t>(from));
  }

  // Throws Error where the unit holds nothing but zeros.
  void append_filled(size_t position, size_t from, const StoredValues& values) {
    if (values.empty(from)) throw Error("values: number " + std::to_string(from) + " is zero");
    append(position, from);
  }
};

void decode_bitmask(const unsigned char* bits, size_t size, const StoredValues& values, size_t units, Kept& kept) {
  expect_count("bits: bytes", size, (units + 7) / 8);
  if (units % 8 && bits[size - 1] >> units % 8) throw Error("bits: a bit behind the last weight is set");
  size_t found = 0;
  for (size_t i = 0; i < size; ++i) found += static_cast<size_t>(__builtin_popcount(bits[i]));
  expect_count("bits: set bits against values", found, values.units());
  size_t next = 0;
  for (size_t i = 0; i < size; ++i) {
    for (unsigned left = bits[i]; left; left &= left - 1) {
      kept.append_filled(8 * i + static_cast<size_t>(__builtin_ctz(left)), next, values);
      ++next;
    }
  }
}

void decode_steps8(const unsigned char* steps, size_t size, const StoredValues& values, size_t units, Kept& kept) {
  expect_count("steps: bytes against values", size, values.units());
  size_t position = 0;
  for (size_t i = 0; i < size; ++i) {
    position += steps[i];
    expect_inside(position, units);
    if (!values.empty(i)) {
      kept.append(position, i);
    } else if (steps[i] != 255 || i + 1 == size) {
      throw Error("values: number " + std::to_string(i) + " is zero, and no filler of a long gap");
    }
    ++position;
  }
}

struct GapGroups {
  size_t bytes;  // of the shortest whole number of codes
  size_t codes;  // in them
};

GapGroups groups_of(int bits) {
  size_t bytes = 1;
  while (bytes * 8 % static_cast<size_t>(bits)) ++bytes;
  return {bytes, bytes * 8 / static_cast<size_t>(bits)};
}

void decode_gaps(const unsigned char* gaps, size_t size, int bits, const StoredValues& values, size_t units,
                 Kept& kept) {
  const GapGroups group = groups_of(bits);
  if (size % group.bytes)
    throw Error("gaps: " + std::to_string(size) + " bytes are no whole number of groups of codes");
  const size_t codes = size / group.bytes * group.codes;
  const uint32_t escape = (uint32_t{1} << bits) - 1;
  uint64_t window = 0;  // bits that are read and not yet used, lowest first
  int held = 0;
  size_t position = 0, found = 0, escapes = 0;  // escapes: since the last value
  for (size_t code = 0; code < codes; ++code) {
    for (; held < bits; held += 8) window |= static_cast<uint64_t>(*gaps++) << held;
    const uint32_t gap = static_cast<uint32_t>(window) & escape;
    window >>= bits;
    held -= bits;
    position += gap;
    if (gap == escape) {
      ++escapes;
      continue;
    }
    escapes = 0;
    expect_inside(position, units);
    if (found == values.units()) throw Error("gaps: more codes of values than values");
    kept.append_filled(position, found, values);
    ++found;
    ++position;
  }
  expect_count("gaps: codes of values against values", found, values.units());
  if (escapes >= group.codes) throw Error("gaps: more codes behind the last value than fill its group");
}

void decode_positions(const WeightDecl& decl, Bytes positions, const StoredValues& values, size_t units, Kept& kept) {
  const auto* codes = static_cast<const unsigned char*>(positions.data);
  kept.unit.reserve(values.units());
  kept.stored.reserve(values.units());
  switch (decl.coding) {
    case Coding::kDense:
      expect_count("values", values.units(), units);
      for (size_t i = 0; i < units; ++i) {
        if (!values.empty(i)) kept.append(i, i);
      }
      return;
    case Coding::kBitmask: return decode_bitmask(codes, positions.size, values, units, kept);
    case Coding::kSteps8: return decode_steps8(codes, positions.size, values, units, kept);
    case Coding::kGaps: return decode_gaps(codes, positions.size, decl.gap_bits, values, units, kept);
  }
}

// The elements of kept blocks where they belong: block rows one after the other, each spread out and read off again.
template <class T, class Read>
void spread(const WeightDecl& decl, const Kept& kept, Read read, std::vector<uint32_t>& position, std::vector<T>& value) {
  const size_t R = static_cast<size_t>(decl.block_rows), C = static_cast<size_t>(decl.block_columns);
  size_t taps = 1;
  for (size_t i = 2; i < decl.dims.size(); ++i) taps *= static_cast<size_t>(decl.dims[i]);
  const size_t row = static_cast<size_t>(decl.dims[1]) * taps, blocks_a_row = row / C;
  std::vector<T> rows(R * row);
  for (size_t k = 0; k < kept.unit.size();) {
    const size_t block_row = kept.unit[k] / blocks_a_row;
    std::fill(rows.begin(), rows.end(), T{});
    for (; k < kept.unit.size() && kept.unit[k] / blocks_a_row == block_row; ++k) {
      const size_t in_row = kept.unit[k] % blocks_a_row, first = in_row / taps * C * taps + in_row % taps;
      for (size_t i = 0; i < R * C; ++i) rows[i / C * row + first + i % C * taps] = read(kept.stored[k] * R * C + i);
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i] == T{}) continue;
      position.push_back(static_cast<uint32_t>(block_row * R * row + i));
      value.push_back(rows[i]);
    }
  }
}

template <class T, class Read>
void place(const WeightDecl& decl, Kept& kept, Read read, std::vector<uint32_t>& position, std::vector<T>& value) {
  if (decl.block_rows * decl.block_columns > 1) return spread(decl, kept, read, position, value);
  value.reserve(kept.unit.size());
  for (uint32_t from : kept.stored) value.push_back(read(from));
  position = std::move(kept.unit);
}

}  // namespace

Weight decode_weight(const WeightDecl& decl, Bytes positions, Bytes values) {
  const size_t a_unit = static_cast<size_t>(decl.block_rows) * static_cast<size_t>(decl.block_columns);
  if (decl.coding != Coding::kDense) check_budget(decl, elements_of(decl), positions.size + values.size);
  const StoredValues found(values, decl.type, a_unit);
  Kept kept;
  decode_positions(decl, positions, found, elements_of(decl) / a_unit, kept);
  Weight weight;
  weight.dims = decl.dims;
  if (is_integer(decl.type)) {
    place(decl, kept, [&](size_t i) { return found.integer(i); }, weight.position, weight.integer);
  } else {
    place(decl, kept, [&](size_t i) { return found.real(i); }, weight.position, weight.value);
  }
  return weight;
}

Weight outputs_first(const Weight& weight) {
  const int64_t in = weight.dims[0], out = weight.dims[1];
  std::vector<std::pair<uint32_t, size_t>> order(weight.position.size());  // the new position, and where it was
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t p = weight.position[i];
    order[i] = {static_cast<uint32_t>(p % out * in + p / out), i};
  }
  std::sort(order.begin(), order.end());
  Weight turned;
  turned.dims = {out, in};
  for (const auto& [position, i] : order) {
    turned.position.push_back(position);
    if (!weight.value.empty()) turned.value.push_back(weight.value[i]);
    if (!weight.integer.empty()) turned.integer.push_back(weight.integer[i]);
  }
  return turned;
}

}  // namespace lth
