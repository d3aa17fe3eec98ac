// Sentences to ids as sentencepiece does it: normalization, BPE or unigram, then the ids of BEiT-3 (XLM-R's order).
// Reads the tokenizer's own file. `parse` holds the format; the algorithms follow sentencepiece's behaviour.
"use strict";

const CLASS_ID = 0, PADDING_ID = 1, END_ID = 2, UNKNOWN_ID = 3, OFFSET = 1;
const MAX_CHARACTERS = 10000;
const PIECE = { NORMAL: 1, UNKNOWN: 2, CONTROL: 3, USER_DEFINED: 4, UNUSED: 5, BYTE: 6 };
const UNIGRAM = 1, BPE = 2;
const SPACE = "\u2581";
const UNKNOWN_PENALTY = 10;

// ---- the file: a protocol buffer -------------------------------------------------------------------------------

// Calls visit(field, value) for each field of a message; values are numbers, or bytes.
function eachField(bytes, visit) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    let value = 0, factor = 1, byte;
    do { byte = bytes[at++]; value += (byte & 127) * factor; factor *= 128; } while (byte & 128);
    return value;
  };
  while (at < bytes.length) {
    const key = varint(), field = Math.floor(key / 8), kind = key % 8;
    if (kind === 0) visit(field, varint());
    else if (kind === 5) { visit(field, view.getFloat32(at, true)); at += 4; }
    else if (kind === 1) { visit(field, view.getFloat64(at, true)); at += 8; }
    else if (kind === 2) { const length = varint(); visit(field, bytes.subarray(at, at + length)); at += length; }
    else throw new Error("the tokenizer is not a sentencepiece model");
  }
}

function parse(bytes) {
  const text = new TextDecoder("utf-8", { ignoreBOM: true });
  const model = { pieces: [], type: UNIGRAM, byteFallback: false, suffixSpace: false, charsmap: null,
                  dummyPrefix: true, removeExtraSpaces: true, escapeSpaces: true };
  eachField(bytes, (field, value) => {
    if (field === 1) {
      const piece = { text: "", score: 0, type: PIECE.NORMAL };
      eachField(value, (inner, part) => {
        if (inner === 1) piece.text = text.decode(part);
        else if (inner === 2) piece.score = part;
        else if (inner === 3) piece.type = part;
      });
      model.pieces.push(piece);
    } else if (field === 2) {
      eachField(value, (inner, part) => {
        if (inner === 3) model.type = part;
        else if (inner === 24) model.suffixSpace = part !== 0;
        else if (inner === 35) model.byteFallback = part !== 0;
      });
    } else if (field === 3) {
      eachField(value, (inner, part) => {
        if (inner === 2) model.charsmap = part;
        else if (inner === 3) model.dummyPrefix = part !== 0;
        else if (inner === 4) model.removeExtraSpaces = part !== 0;
        else if (inner === 5) model.escapeSpaces = part !== 0;
      });
    }
  });
  return model;
}

// ---- normalization ---------------------------------------------------------------------------------------------

// The replacements of a model: a double-array trie over UTF-8 bytes whose values are places of zero-ended strings.
class Replacements {
  constructor(charsmap) {
    const size = new DataView(charsmap.buffer, charsmap.byteOffset).getUint32(0, true);
    this.units = new Uint32Array(charsmap.slice(4, 4 + size).buffer);
    this.strings = charsmap.subarray(4 + size);
  }

  // Returns [bytes read, replacement] of the longest match at a place, or null.
  longest(bytes, start) {
    const offset = (unit) => (unit >>> 10) << ((unit & 512) >>> 6);
    let node = offset(this.units[0]), found = null;
    for (let at = start; at < bytes.length; at++) {
      node ^= bytes[at];
      const unit = this.units[node];
      if ((unit & 0x800000ff) >>> 0 !== bytes[at]) break;
      node ^= offset(unit);
      if ((unit >>> 8) & 1) found = [at + 1 - start, this.units[node] & 0x7fffffff];
    }
    if (found === null) return null;
    let end = found[1];
    while (this.strings[end]) end++;
    return [found[0], new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.strings.subarray(found[1], end))];
  }
}

class Tokenizer {
  constructor(file, textTokens) {
    this.model = parse(file);
    this.textTokens = textTokens;
    if (![UNIGRAM, BPE].includes(this.model.type)) throw new Error("a tokenizer of words or letters is not read");
    this.replacements = this.model.charsmap && this.model.charsmap.length ? new Replacements(this.model.charsmap) : null;
    this.ids = new Map();
    this.unknown = 0;
    this.bytes = new Map();
    this.userDefined = new Set();
    let low = Infinity, high = -Infinity;
    this.model.pieces.forEach((piece, id) => {
      if ([PIECE.NORMAL, PIECE.USER_DEFINED, PIECE.UNUSED].includes(piece.type)) this.ids.set(piece.text, id);
      if (piece.type === PIECE.USER_DEFINED) this.userDefined.add(piece.text);
      if (piece.type === PIECE.BYTE) this.bytes.set(parseInt(piece.text.slice(3, 5), 16), id);
      if (piece.type === PIECE.UNKNOWN) this.unknown = id;
      if (piece.type === PIECE.NORMAL) { low = Math.min(low, piece.score); high = Math.max(high, piece.score); }
    });
    this.lowest = low;
    this.highest = high;
    this.longestPiece = Math.max(0, ...[...this.ids.keys()].map((piece) => Array.from(piece).length));
    this.longestUserDefined = Math.max(0, ...[...this.userDefined].map((piece) => Array.from(piece).length));
  }

  userDefinedAt(letters, start) {
    for (let length = Math.min(this.longestUserDefined, letters.length - start); length > 0; length--) {
      const text = letters.slice(start, start + length).join("");
      if (this.userDefined.has(text)) return length;
    }
    return 0;
  }

  normalize(sentence) {
    const model = this.model;
    const letters = Array.from(sentence);
    const encoder = new TextEncoder();
    const parts = [];  // [replacement] of each piece of the input
    const bytes = encoder.encode(sentence);
    const starts = new Map();
    let place = 0;
    letters.forEach((letter, index) => { starts.set(place, index); place += encoder.encode(letter).length; });
    let at = 0;
    while (at < bytes.length) {
      const index = starts.get(at);
      const own = this.userDefinedAt(letters, index);
      if (own) {
        const text = letters.slice(index, index + own).join("");
        parts.push(text);
        at += encoder.encode(text).length;
        continue;
      }
      const match = this.replacements && this.replacements.longest(bytes, at);
      if (match) { parts.push(match[1]); at += match[0]; }
      else { parts.push(letters[index]); at += encoder.encode(letters[index]).length; }
    }
    if (model.removeExtraSpaces) while (parts.length && parts[0] === " ") parts.shift();
    if (!parts.length) return "";
    const space = model.escapeSpaces ? SPACE : " ";
    let text = model.dummyPrefix && !model.suffixSpace ? space : "", afterSpace = model.removeExtraSpaces;
    for (let part of parts) {
      while (afterSpace && part.startsWith(" ")) part = part.slice(1);
      if (part) {
        text += model.escapeSpaces ? part.replaceAll(" ", SPACE) : part;
        afterSpace = part.endsWith(" ");
      }
      if (!model.removeExtraSpaces) afterSpace = false;
    }
    if (model.removeExtraSpaces) while (text.endsWith(space)) text = text.slice(0, -space.length);
    return model.dummyPrefix && model.suffixSpace ? text + space : text;
  }

  // ---- pieces ----------------------------------------------------------------------------------------------------

  // Merges the neighbours of the best score, the left one of equals, until none is a piece.
  bpe(letters) {
    const symbols = [];
    for (let at = 0; at < letters.length;) {
      const own = this.userDefinedAt(letters, at);
      symbols.push({ text: letters.slice(at, at + (own || 1)).join(""), frozen: own > 0 });
      at += own || 1;
    }
    const madeOf = new Map();
    for (;;) {
      let best = -1, bestScore = -Infinity;
      for (let at = 0; at + 1 < symbols.length; at++) {
        if (symbols[at].frozen || symbols[at + 1].frozen) continue;
        const text = symbols[at].text + symbols[at + 1].text, id = this.ids.get(text);
        if (id === undefined) continue;
        if (this.model.pieces[id].type === PIECE.UNUSED) madeOf.set(text, [symbols[at].text, symbols[at + 1].text]);
        if (this.model.pieces[id].score > bestScore) { best = at; bestScore = this.model.pieces[id].score; }
      }
      if (best < 0) break;
      symbols.splice(best, 2, { text: symbols[best].text + symbols[best + 1].text, frozen: false });
    }
    const pieces = [];
    const put = (text) => {  // pieces that the model does not use are taken apart again
      const id = this.ids.get(text);
      const parts = id !== undefined && this.model.pieces[id].type === PIECE.UNUSED ? madeOf.get(text) : undefined;
      if (parts) parts.forEach(put);
      else pieces.push([text, id === undefined ? this.unknown : id]);
    };
    symbols.forEach((symbol) => put(symbol.text));
    return pieces;
  }

  // The pieces of the highest sum of scores, added in 32 bits as sentencepiece does, so that ties fall alike.
  unigram(letters) {
    const best = Array.from({ length: letters.length + 1 }, () => null);
    best[0] = { score: 0, from: 0, id: -1 };
    const offer = (end, score, from, id) => {
      if (best[end] === null || score > best[end].score) best[end] = { score, from, id };
    };
    const encoder = new TextEncoder();
    for (let start = 0; start < letters.length; start++) {
      const here = best[start].score;
      let single = false, text = "", bytes = 0;
      for (let end = start + 1; end <= Math.min(letters.length, start + this.longestPiece); end++) {
        text += letters[end - 1];
        bytes += encoder.encode(letters[end - 1]).length;
        const id = this.ids.get(text);
        if (id === undefined || this.model.pieces[id].type === PIECE.UNUSED) continue;
        const own = this.model.pieces[id].type === PIECE.USER_DEFINED;
        const score = own ? Math.fround(bytes * this.highest - 0.1) : this.model.pieces[id].score;
        offer(end, Math.fround(score + here), start, id);
        single = single || end === start + 1;
      }
      if (!single) offer(start + 1, Math.fround(Math.fround(this.lowest - UNKNOWN_PENALTY) + here), start, this.unknown);
    }
    const pieces = [];
    for (let end = letters.length; end > 0; end = best[end].from) {
      pieces.unshift([letters.slice(best[end].from, end).join(""), best[end].id]);
    }
    return pieces;
  }

  // Returns [text, sentencepiece id] of each piece; unknown neighbours are one piece, or bytes where the model has them.
  pieces(sentence) {
    const letters = Array.from(this.normalize(readable(sentence)));
    const found = [];
    for (const [text, id] of this.model.type === BPE ? this.bpe(letters) : this.unigram(letters)) {
      const last = found[found.length - 1];
      if (id !== this.unknown) found.push([text, id]);
      else if (this.model.byteFallback) {
        for (const byte of new TextEncoder().encode(text)) found.push([text, this.bytes.get(byte)]);
      } else if (last && last[1] === this.unknown) last[0] += text;
      else found.push([text, id]);
    }
    return found;
  }

  // Returns ids and padding of a fixed length, as the model reads them, and how many pieces are unknown or cut.
  encode(sentence) {
    const pieces = this.pieces(sentence);
    const words = pieces.map(([, id]) => (id === this.unknown ? UNKNOWN_ID : id + OFFSET));
    const kept = words.slice(0, this.textTokens - 2);
    const ids = new Array(this.textTokens).fill(PADDING_ID);
    [CLASS_ID, ...kept, END_ID].forEach((id, place) => { ids[place] = id; });
    return {
      ids,
      padding: ids.map((_, place) => place >= kept.length + 2),
      pieces: pieces.length,
      unknown: pieces.filter(([, id]) => id === this.unknown).map(([text]) => text.replaceAll(SPACE, " ").trim()),
      cut: words.length - kept.length,
    };
  }
}

// As `sharedris.tokenizer` reads a sentence: at most so many characters, a question mark for half a surrogate pair.
function readable(sentence) {
  return Array.from(sentence).slice(0, MAX_CHARACTERS)
    .map((letter) => (letter.length === 1 && letter >= "\ud800" && letter <= "\udfff" ? "?" : letter)).join("");
}

if (typeof module !== "undefined") module.exports = { Tokenizer };
