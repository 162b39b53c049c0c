// SPDX-License-Identifier: Apache-2.0
using System.Text;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>
/// Mutated files: each is read or refused with one message; no other exception, no hang, no allocation beyond a bound. Mutations are drawn from a fixed
/// seed; a failure names the number of its mutation.
/// </summary>
internal static class Fuzzing
{
    private const int ShortCount = 1_000;
    private const int LongCount = 100_000;
    private const int HangSeconds = 120;

    /// <summary>Text that readers of JSON and tables may stumble over, put in by some mutations.</summary>
    private static readonly byte[][] s_tokens =
    [
        .. new[]
        {
            "{", "}", "[", "]", ",", ":", "\"", "\"\"", "null", "true", "-1", "0", "1e999", "99999999999999999999", "\\ud800", "\\u0000", "\\", "\n", "\r\n", "\t", "#", " ", "<|endoftext|>",
            "{}", "[]", "\"a\"", new string('[', 100), new string('9', 400), "\ufeff", "\u2028", "../", "/",
        }.Select(Encoding.UTF8.GetBytes),
        [0xC3, 0x28], [0xED, 0xA0, 0x80], [0xFF, 0xFE], [0],
    ];

    /// <summary>Feeds mutations of a file to its reader.</summary>
    /// <param name="seed">An intact file, which must be read.</param>
    /// <param name="read">Reads the bytes; may throw a <see cref="UserError"/> alone.</param>
    /// <param name="allowed">Managed bytes that one reading may allocate.</param>
    /// <param name="shortCount">Number of mutations unless the tests run in their long form.</param>
    /// <param name="longCount">Their number in the long form.</param>
    /// <param name="asText">Whether tokens of text formats are put in as well.</param>
    public static void Repeat(byte[] seed, Action<byte[]> read, long allowed = 1 << 20, int shortCount = ShortCount, int longCount = LongCount, bool asText = false)
    {
        read(seed);
        int count = TestLength.Pick(shortCount, longCount);
        int current = 0;
        Task<(int Refused, long Largest)> work = Task.Run(() =>
        {
            (int refused, long largest) = (0, 0);
            for (int i = 0; i < count; i++)
            {
                Volatile.Write(ref current, i);
                byte[] mutated = Mutate(seed, new Random(i), asText);
                long before = GC.GetAllocatedBytesForCurrentThread();
                refused += Refuses(read, mutated, i) ? 1 : 0;
                largest = Math.Max(largest, GC.GetAllocatedBytesForCurrentThread() - before);
            }

            return (refused, largest);
        });
        for (int seen = -1; !work.Wait(TimeSpan.FromSeconds(HangSeconds)); seen = Volatile.Read(ref current))
        {
            Assert.That(Volatile.Read(ref current), Is.GreaterThan(seen), $"a mutation is not read or refused within {HangSeconds} s");
        }

        Assert.That(work.Result.Refused, Is.GreaterThan(count / 20), "many mutations must be noticed, or they do not reach the reader");
        Assert.That(work.Result.Largest, Is.LessThan(allowed), $"bytes allocated for a file of {seed.Length}");
    }

    private static bool Refuses(Action<byte[]> read, byte[] mutated, int number)
    {
        try
        {
            read(mutated);
            return false;
        }
        catch (UserError)
        {
            return true;
        }
        catch (Exception failure)
        {
            throw new InvalidOperationException($"mutation {number}, {mutated.Length} bytes: '{Encoding.Latin1.GetString(mutated.AsSpan(0, Math.Min(300, mutated.Length)))}'", failure);
        }
    }

    private static byte[] Mutate(byte[] seed, Random random, bool asText)
    {
        List<byte> bytes = [.. seed];
        for (int changes = random.Next(1, 4); changes > 0 && bytes.Count > 0; changes--)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(asText ? 10 : 7))
            {
                case 0: bytes[at] ^= (byte)(1 << random.Next(8)); break;
                case 1: bytes[at] = (byte)random.Next(256); break;
                case 2: bytes[at] = random.Next(2) == 0 ? (byte)0 : (byte)255; break;
                case 3: bytes.RemoveRange(at, bytes.Count - at); break;
                case 4: bytes.RemoveRange(at, random.Next(Math.Min(16, bytes.Count - at + 1))); break;
                case 5: bytes.InsertRange(at, bytes.GetRange(random.Next(at + 1), random.Next(Math.Min(32, at + 1)) % Math.Max(1, bytes.Count - at))); break;
                case 6: Overwrite(bytes, at, random); break;
                default: bytes.InsertRange(at, s_tokens[random.Next(s_tokens.Length)]); break;
            }
        }

        return [.. bytes];
    }

    /// <summary>A length or an offset of an extreme size.</summary>
    private static void Overwrite(List<byte> bytes, int at, Random random)
    {
        long[] extremes = [-1, long.MaxValue, long.MinValue, int.MaxValue, 1L << 32, 1 << 20];
        byte[] value = BitConverter.GetBytes(extremes[random.Next(extremes.Length)]);
        for (int k = 0; k < 8 && at + k < bytes.Count; k++)
        {
            bytes[at + k] = value[k];
        }
    }
}
