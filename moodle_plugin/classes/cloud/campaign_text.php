<?php
// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

namespace local_manireports\cloud;

/**
 * A campaign's text with placeholders, and what it becomes for one recipient, as the sidecar does it (its campaign_text.py).
 *
 * {word} is a placeholder, {{word}} writes a literal {word}; any other brace, as in CSS, is text.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class campaign_text {
    /** @var string[] placeholders that every recipient has */
    public const STANDARD = [
        'firstname', 'lastname', 'fullname', 'coursename', 'courseurl', 'lastaccess', 'sitename', 'unsubscribeurl',
    ];

    /** @var int the longest subject, in characters */
    public const SUBJECT = 255;

    /** @var int the longest body, in bytes */
    public const BODY = 500000;

    /** @var string a placeholder, or a literal brace */
    private const MARK = '/\{(\{[A-Za-z][A-Za-z0-9_]*\})\}|\{([A-Za-z][A-Za-z0-9_]*)\}/';

    /**
     * A text.
     *
     * @param string $subject plain; empty: the site's own
     * @param string $body HTML; empty: the site's own
     */
    public function __construct(
        /** @var string plain */
        public readonly string $subject,
        /** @var string HTML */
        public readonly string $body
    ) {
    }

    /**
     * What reminders say that bring no text, in a language: the site's own text, else ours in English.
     *
     * @param string[] $langs the first of them that there is, or its parent; English at last
     */
    public static function of_site(array $langs): self {
        $texts = self::templates('reengagement');
        $found = self::in_language($texts, $langs);
        $english = get_string_manager();
        return new self(
            $found && $found->subject !== '' ? $found->subject
                : $english->get_string('cloudcampaignsubject', 'local_manireports', null, 'en'),
            $found && (string)$found->body !== '' ? $found->body
                : $english->get_string('cloudcampaignbody', 'local_manireports', null, 'en')
        );
    }

    /**
     * The word for a visit that never was.
     *
     * @param string $lang
     */
    public static function never(string $lang): string {
        $found = self::in_language(self::templates('never'), [$lang]);
        return $found && $found->subject !== '' ? $found->subject : 'never';
    }

    /**
     * This text; what of it is empty comes from another.
     *
     * @param self $other
     */
    public function or(self $other): self {
        return new self($this->subject !== '' ? $this->subject : $other->subject, $this->body !== '' ? $this->body : $other->body);
    }

    /**
     * What is wrong with this text, for the admin.
     *
     * @return string[] by field, subject and body
     */
    public function complaints(): array {
        $complaints = [];
        foreach (['subject' => $this->subject, 'body' => $this->body] as $field => $text) {
            $unknown = array_diff(self::names($text), self::STANDARD);
            if ($unknown) {
                $list = implode(', ', array_map(fn($name) => '{' . $name . '}', $unknown));
                $complaints[$field] = get_string('cloudcampaignunknown', 'local_manireports', $list);
            }
        }
        if (\core_text::strlen($this->subject) > self::SUBJECT) {
            $complaints['subject'] = get_string('maximumchars', '', self::SUBJECT);
        }
        if (strlen($this->body) > self::BODY) {
            $complaints['body'] = get_string('cloudcampaigntoolong', 'local_manireports', display_size(self::BODY));
        }
        return $complaints;
    }

    /**
     * The text filled in for one recipient.
     *
     * @param string[] $values plain, by placeholder; every placeholder has one
     * @return self subject in one line, values in the body escaped
     */
    public function render(array $values): self {
        $clean = array_map([self::class, 'clean'], $values);
        $subject = self::clean(self::fill($this->subject, $clean));
        $body = self::fill($this->body, array_map(fn($value) => htmlspecialchars($value, ENT_QUOTES), $clean));
        return new self(trim(preg_replace('/\s+/u', ' ', $subject)), $body);
    }

    /**
     * The placeholders of a text.
     *
     * @param string $text
     * @return string[]
     */
    private static function names(string $text): array {
        preg_match_all(self::MARK, $text, $found);
        return array_values(array_unique(array_filter($found[2])));
    }

    /**
     * Every placeholder replaced, once: what a value holds is never looked at again.
     *
     * @param string $text
     * @param string[] $values
     */
    private static function fill(string $text, array $values): string {
        return preg_replace_callback(
            self::MARK,
            fn($mark) => ($mark[1] ?? '') !== '' ? $mark[1] : $values[$mark[2]] ?? $mark[0],
            $text
        );
    }

    /**
     * Without control characters; line breaks and tabs become blanks.
     *
     * @param string $value
     */
    private static function clean(string $value): string {
        $value = preg_replace('/[\t\r\n]/', ' ', fix_utf8($value));
        return preg_replace('/\p{Cc}/u', '', $value);
    }

    /**
     * The site's own texts of a name.
     *
     * @param string $name
     * @return \stdClass[] rows by language
     */
    private static function templates(string $name): array {
        global $DB;
        return $DB->get_records_select(
            'manireports_cloud_templates',
            "name = :name AND (subject <> '' OR body IS NOT NULL)",
            ['name' => $name],
            'id',
            'lang, subject, body'
        );
    }

    /**
     * The text in the first of these languages, or its parent, that there is; else in English.
     *
     * @param \stdClass[] $texts by language
     * @param string[] $langs
     */
    private static function in_language(array $texts, array $langs): ?\stdClass {
        foreach ([...$langs, 'en'] as $lang) {
            $parent = (string)substr($lang, 0, (int)strrpos($lang, '_'));
            foreach ([$lang, $parent] as $wanted) {
                if (isset($texts[$wanted])) {
                    return $texts[$wanted];
                }
            }
        }
        return null;
    }
}
