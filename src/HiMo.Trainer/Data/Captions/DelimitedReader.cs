// SPDX-License-Identifier: Apache-2.0
using System.Text;

namespace HiMo.Trainer;

/// <summary>Names of the columns that hold a pair; the defaults are open_clip's.</summary>
/// <param name="Image">Of the image's path.</param>
/// <param name="Caption">Of the caption.</param>
internal sealed record CaptionColumns(string Image = "filepath", string Caption = "title");

/// <summary>
/// Tables with a header row, separated by tabs where the header has one and else by commas, fields quoted as in CSV: a field that begins with a
/// double quote ends at the next single one, may hold separators and newlines, and doubles its quotes. Source: open_clip's csv data, RFC 4180.
/// </summary>
internal static class DelimitedReader
{
    /// <summary>A longer field means that a quote was never closed.</summary>
    private const int MaxField = 1 << 20;

    /// <summary>Image path and caption of every row; the caption may be blank.</summary>
    /// <param name="path">The file, UTF-8.</param>
    /// <param name="columns">Names of the two columns; null takes the usual ones.</param>
    /// <exception cref="UserError">The file is missing, not UTF-8, or malformed; the message names the line.</exception>
    public static IEnumerable<CaptionRecord> Read(string path, CaptionColumns? columns = null)
    {
        columns ??= new CaptionColumns();
        char separator = Separator(path);
        using Cursor cursor = new(path);
        List<string> row = [];
        if (!ReadRow(cursor, separator, row))
        {
            throw new UserError($"{path}: is empty; its first line must name the columns, '{columns.Image}' and '{columns.Caption}' among them");
        }

        int count = row.Count;
        int image = Column(row, columns.Image, path, separator);
        int caption = Column(row, columns.Caption, path, separator);
        for (int line = cursor.Line; ReadRow(cursor, separator, row); line = cursor.Line)
        {
            if (row.Count == 1 && row[0].Length == 0)
            {
                continue; // an empty line
            }

            if (row.Count != count)
            {
                throw new UserError($"{path}: line {line} has {row.Count} fields, the header has {count}; quote fields that hold the separator");
            }

            yield return new CaptionRecord(row[image], row[caption].Replace('\n', ' '));
        }
    }

    /// <summary>A tab, unless the first line has none and has a comma: open_clip writes tabs into .csv files.</summary>
    private static char Separator(string path)
    {
        using Cursor cursor = new(path);
        bool comma = false;
        for (int characters = 0; characters < MaxField && cursor.Next is not (< 0 or '\n' or '\t'); characters++)
        {
            comma |= cursor.Take() == ',';
        }

        return comma && cursor.Next != '\t' ? ',' : '\t';
    }

    private static int Column(List<string> header, string name, string path, char separator)
    {
        int column = header.IndexOf(name);
        string shown = separator == '\t' ? "a tab" : $"'{separator}'";
        return column >= 0
            ? column
            : throw new UserError($"{path}: has no column '{name}'; its first line names {string.Join(", ", header.Take(10).Select(Shorten))} (separated by {shown}); --image-column and --caption-column name others");
    }

    private static string Shorten(string text) => text.Length <= 40 ? $"'{text}'" : $"'{text[..40]}...'";

    /// <summary>One row, or false at the end of the file.</summary>
    private static bool ReadRow(Cursor cursor, char separator, List<string> row)
    {
        row.Clear();
        int start = cursor.Line;
        StringBuilder field = new();
        bool quoted = false;
        if (cursor.Next < 0)
        {
            return false;
        }

        while (cursor.Next >= 0)
        {
            char character = cursor.Take();
            if (quoted && character == '"' && cursor.Next == '"')
            {
                field.Append(cursor.Take());
            }
            else if (character == '"' && (quoted || field.Length == 0))
            {
                quoted = !quoted;
            }
            else if (!quoted && character == separator)
            {
                row.Add(field.ToString());
                field.Clear();
            }
            else if (!quoted && character == '\n')
            {
                break;
            }
            else if (quoted || character != '\r' || cursor.Next != '\n')
            {
                field.Append(character);
            }

            if (field.Length > MaxField)
            {
                throw new UserError($"{cursor.Path}: a field in the row that starts in line {start} is longer than {MaxField} characters; is a quote not closed?");
            }
        }

        row.Add(field.ToString());
        return !quoted ? true : throw new UserError($"{cursor.Path}: a quote opened in the row that starts in line {start} is never closed");
    }

    /// <summary>The characters of a file with one of look-ahead.</summary>
    private sealed class Cursor : IDisposable
    {
        private readonly StreamReader _reader;

        public Cursor(string path)
        {
            Path = path;
            _reader = TextFile.OpenText(path);
            Advance();
        }

        public string Path { get; }

        /// <summary>Line of <see cref="Next"/>, from 1.</summary>
        public int Line { get; private set; } = 1;

        /// <summary>The character that <see cref="Take"/> gives, or -1 at the end.</summary>
        public int Next { get; private set; }

        public char Take()
        {
            char taken = (char)Next;
            Line += taken == '\n' ? 1 : 0;
            Advance();
            return taken;
        }

        public void Dispose() => _reader.Dispose();

        private void Advance()
        {
            try
            {
                Next = _reader.Read();
            }
            catch (DecoderFallbackException failure)
            {
                throw new UserError($"{Path}: is not UTF-8 after line {Line}", failure);
            }
            catch (IOException failure)
            {
                throw new UserError($"{Path}: cannot be read ({failure.Message})", failure);
            }
        }
    }
}
