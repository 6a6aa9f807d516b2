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

namespace local_manireports;

use core\encryption;
use local_manireports\cloud\upgrade\earlier;
use local_manireports\cloud\upgrade\tables;
use xmldb_table;

/**
 * Sites that ran an earlier ManiReports: from none, some or all of its tables, interrupted or not.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(earlier::class)]
final class cloud_upgrade_test extends \advanced_testcase {
    /** @var string[] tables of the earlier version */
    private const EARLIER = ['manireports_cloud_jobs', 'manireports_cloud_recip', 'manireports_cloud_conf'];

    #[\Override]
    public static function setUpBeforeClass(): void {
        global $CFG;
        require_once($CFG->libdir . '/ddllib.php');
        parent::setUpBeforeClass();
    }

    #[\Override]
    protected function setUp(): void {
        parent::setUp();
        $this->preventResetByRollback();
        $this->resetAfterTest();
    }

    #[\Override]
    protected function tearDown(): void {
        global $DB;
        // Whatever a test did: the tables are those of install.xml again, and empty.
        foreach (self::EARLIER as $name) {
            self::drop($name);
        }
        tables::ensure();
        foreach (tables::defined() as $table) {
            if (!in_array($table->getName(), ['manireports_cloud_sidecar', 'manireports_cloud_templates'])) {
                $DB->delete_records($table->getName());
            }
        }
        parent::tearDown();
    }

    /**
     * Drops a table that may be there.
     *
     * @param string $name
     */
    private static function drop(string $name): void {
        global $DB;
        if ($DB->get_manager()->table_exists($name)) {
            $DB->get_manager()->drop_table(new xmldb_table($name));
        }
    }

    /**
     * Leaves the earlier version's tables, and of ours those that it had not.
     *
     * @param string[] $names
     */
    private static function earlier_tables(array $names): void {
        foreach (['jobs', 'recipients', 'company_settings'] as $ours) {
            self::drop("manireports_cloud_$ours");
        }
        foreach ($names as $name) {
            self::earlier_table($name);
        }
    }

    /**
     * Makes a table as the earlier install.xml did.
     *
     * @param string $name
     */
    private static function earlier_table(string $name): void {
        global $DB;
        $int = fn(string $field, bool $notnull = true, ?string $default = null, string $length = '10'): array =>
            [$field, XMLDB_TYPE_INTEGER, $length, null, $notnull ? XMLDB_NOTNULL : null, null, $default];
        $char = fn(string $field, string $length, bool $notnull = false): array =>
            [$field, XMLDB_TYPE_CHAR, $length, null, $notnull ? XMLDB_NOTNULL : null, null, null];
        $text = fn(string $field): array => [$field, XMLDB_TYPE_TEXT, null, null, null, null, null];
        $fields = [
            'manireports_cloud_jobs' => [
                $char('type', '50', true), $char('status', '50', true), $int('email_count'), $int('emails_sent', false),
                $int('emails_failed', false), $int('company_id'), $int('created_at'), $int('started_at', false),
                $int('completed_at', false), $text('error_log'),
            ],
            'manireports_cloud_recip' => [
                $int('job_id'), $char('email', '255', true), $text('recipient_data'), $char('status', '50', true),
                $int('sent_at', false), $text('error_message'),
            ],
            'manireports_cloud_conf' => [
                $int('company_id'), $char('provider', '50', true), $char('aws_access_key', '255'),
                $char('aws_secret_key', '255'), $char('aws_region', '50'), $char('sqs_queue_url', '500'),
                $char('ses_sender_email', '255'), $char('cloudflare_api_token', '255'),
                $char('cloudflare_account_id', '255'), $int('enabled', true, '0', '1'),
            ],
        ];
        $table = new xmldb_table($name);
        $table->add_field('id', XMLDB_TYPE_INTEGER, '10', null, XMLDB_NOTNULL, XMLDB_SEQUENCE);
        foreach ($fields[$name] as $field) {
            $table->add_field(...$field);
        }
        $table->add_key('primary', XMLDB_KEY_PRIMARY, ['id']);
        $column = $name === 'manireports_cloud_recip' ? 'job_id' : 'company_id';
        $reference = $name === 'manireports_cloud_recip' ? 'manireports_cloud_jobs' : 'company';
        $table->add_key($column, XMLDB_KEY_FOREIGN, [$column], $reference, ['id']);
        $DB->get_manager()->create_table($table);
    }

    /**
     * Two jobs, one of them not finished, with recipients.
     */
    private function fill(): void {
        global $DB;
        $user = $this->getDataGenerator()->create_user(['username' => 'anna', 'email' => 'Anna@x.test']);
        $done = $DB->insert_record('manireports_cloud_jobs', (object)[
            'type' => 'weird_type', 'status' => 'partial_failure', 'email_count' => 3, 'emails_sent' => 1,
            'emails_failed' => 1, 'company_id' => 4, 'created_at' => 1000, 'completed_at' => 2000,
        ]);
        $open = $DB->insert_record('manireports_cloud_jobs', (object)[
            'type' => 'user_created', 'status' => 'queued', 'email_count' => 1, 'company_id' => 4, 'created_at' => 1000,
        ]);
        $data = ['firstname' => 'Änna', 'username' => 'Anna', 'password' => 'Geheim#1', 'custom_subject' => 'Hi Geheim#1',
            'custom_html' => '<p>Geheim#1</p>'];
        $rows = [
            [$done, 'anna@x.test', json_encode($data), 'sent', 1500, null],
            [$done, 'b@x.test', json_encode(['password' => 'Geheim#2']), 'failed', null, 'refused: Geheim#2'],
            [$done, 'c@x.test', '{"password":"Geheim#3', str_repeat('long ', 8), null, null],
            [$open, 'd@x.test', null, 'pending', null, null],
            [$open + 1000, 'e@x.test', '{"password":["Geheim#5"]}', 'pending', null, null],
        ];
        foreach ($rows as $row) {
            $names = ['job_id', 'email', 'recipient_data', 'status', 'sent_at', 'error_message'];
            $DB->insert_record('manireports_cloud_recip', (object)array_combine($names, $row));
        }
        foreach ([[4, 'aws', 'an older row'], [4, 'AWS', 'clear-secret'], [5, 'carrier pigeon', null]] as [$id, $provider, $key]) {
            $DB->insert_record('manireports_cloud_conf', (object)[
                'company_id' => $id, 'provider' => $provider, 'aws_secret_key' => $key, 'enabled' => 1,
                'sqs_queue_url' => 'https://sqs.example.test/' . str_repeat('q', 300),
            ]);
        }
        $this->user = $user;
    }

    /** @var \stdClass the user behind a recipient */
    private \stdClass $user;

    /**
     * Nothing of ours differs from install.xml, and nothing of the earlier version is left.
     */
    private function assert_schema_clean(): void {
        global $DB;
        $DB->reset_caches();
        $structure = new \xmldb_structure('ours');
        $structure->setTables(array_values(tables::defined()));
        $errors = $DB->get_manager()->check_database_schema($structure, ['extratables' => false]);
        $this->assertSame([], $errors);
        $this->assertFalse($DB->get_manager()->table_exists('manireports_cloud_recip'));
        $this->assertFalse($DB->get_manager()->table_exists('manireports_cloud_conf'));
    }

    /**
     * All of it, and again.
     */
    public function test_all_tables(): void {
        global $DB;
        self::earlier_tables(self::EARLIER);
        $this->fill();

        $notices = earlier::take_over();

        $this->assert_schema_clean();
        $this->assertCount(1, $notices);
        $this->assertStringContainsString('run verify', $notices[0]);
        $this->assert_content();
        $this->assertSame([], earlier::take_over());
        // What an admin has enabled meanwhile stays enabled.
        $DB->set_field('manireports_cloud_company_settings', 'enabled', 1, ['company_id' => 4]);
        $this->assertSame([], earlier::take_over());
        $this->assertEquals(1, $DB->get_field('manireports_cloud_company_settings', 'enabled', ['company_id' => 4]));
    }

    /**
     * What fill() left, as it must be now.
     */
    private function assert_content(): void {
        global $DB;
        $jobs = array_values($DB->get_records('manireports_cloud_jobs', null, 'id'));
        $this->assertSame(['weird_type', 'user_created'], array_column($jobs, 'type'));
        $this->assertSame(['partial_failure', 'cancelled'], array_column($jobs, 'status'));
        $this->assertSame(['earlier', 'earlier'], array_column($jobs, 'source'));
        $this->assertEquals([2000, 1000], array_column($jobs, 'closed_at'));
        $mails = array_values($DB->get_records('manireports_cloud_recipients', null, 'id'));
        $states = ['sent', 'permanently_failed', 'unknown', 'cancelled', 'cancelled'];
        $this->assertSame($states, array_column($mails, 'status'));
        $this->assertStringNotContainsString('Geheim', json_encode($mails));
        $this->assertEquals($this->user->id, $mails[0]->userid);
        $data = ['firstname' => 'Änna', 'username' => 'Anna', 'subject' => 'Hi ***'];
        $this->assertSame($data, json_decode($mails[0]->recipient_data, true));
        $this->assertSame('refused: ***', $mails[1]->error_message);
        $this->assertEquals(0, $mails[4]->job_id);
        $this->assertCount(5, array_unique(array_column($mails, 'email_hash')));
        $companies = array_values($DB->get_records('manireports_cloud_company_settings', null, 'company_id'));
        $this->assertEquals([4, 5], array_column($companies, 'company_id'));
        $this->assertEquals([0, 0], array_column($companies, 'enabled'));
        $this->assertSame(['aws', ''], array_column($companies, 'provider'));
        $this->assertStringStartsWith('sodium:', $companies[0]->aws_secret_key);
        $this->assertSame('clear-secret', encryption::decrypt($companies[0]->aws_secret_key));
        $this->assertNull($companies[1]->aws_secret_key);
        $this->assertSame('', $companies[0]->sqs_queue_url);
    }

    /**
     * Which of the earlier tables there are.
     */
    public static function subsets(): array {
        return [
            'none' => [[]],
            'jobs' => [['manireports_cloud_jobs']],
            'recipients' => [['manireports_cloud_recip']],
            'companies' => [['manireports_cloud_conf']],
            'jobs and companies' => [['manireports_cloud_jobs', 'manireports_cloud_conf']],
            'jobs and recipients' => [['manireports_cloud_jobs', 'manireports_cloud_recip']],
        ];
    }

    /**
     * From any of the tables to all of ours.
     *
     * @dataProvider subsets
     * @param string[] $names
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('subsets')]
    public function test_some_tables(array $names): void {
        global $DB;
        self::earlier_tables($names);
        if (in_array('manireports_cloud_recip', $names)) {
            $row = ['job_id' => 1, 'email' => 'a@x.test', 'status' => 'sent', 'recipient_data' => '{"password":"x"}'];
            $DB->insert_record('manireports_cloud_recip', (object)$row);
        }
        earlier::take_over();
        $this->assert_schema_clean();
        if (in_array('manireports_cloud_recip', $names)) {
            $mail = $DB->get_record('manireports_cloud_recipients', []);
            $this->assertEquals([0, '{}', 'sent'], [$mail->job_id, $mail->recipient_data, $mail->status]);
        }
    }

    /**
     * Killed at any statement: the next run finishes.
     */
    public function test_interrupted(): void {
        global $DB;
        self::earlier_tables(self::EARLIER);
        $this->fill();
        // The state after a kill inside a table.
        $index = new \xmldb_index('earlier', XMLDB_INDEX_NOTUNIQUE, ['job_id']);
        $DB->get_manager()->drop_index(new xmldb_table('manireports_cloud_recip'), $index);
        \local_manireports\cloud\upgrade\earlier_recipients::shorten_states('manireports_cloud_recip');
        tables::columns_like('manireports_cloud_recip', 'manireports_cloud_recipients');
        $first = $DB->get_field_sql('SELECT MIN(id) FROM {manireports_cloud_recip}');
        $DB->set_field('manireports_cloud_conf', 'aws_secret_key', encryption::encrypt('clear-secret'), ['company_id' => 4]);

        earlier::take_over();

        $this->assert_schema_clean();
        $this->assert_content();
        $this->assertTrue($DB->record_exists('manireports_cloud_recipients', ['id' => $first]));
    }

    /**
     * The sidecar made its own tables beside those of the earlier version (`schema --create`).
     */
    public function test_beside_tables_of_the_sidecar(): void {
        global $DB;
        self::earlier_tables(self::EARLIER);
        $this->fill();
        foreach (tables::defined() as $table) {
            if (!$DB->get_manager()->table_exists($table)) {
                $DB->get_manager()->create_table($table);
            }
        }
        $mine = (object)['company_id' => 4, 'provider' => 'smtp', 'enabled' => 1];
        $DB->insert_record('manireports_cloud_company_settings', $mine);
        $hash = (object)['email' => 'z@x.test', 'email_hash' => 'z', 'source' => 'iomad_mail', 'status' => 'sent'];
        $DB->insert_record('manireports_cloud_recipients', $hash);

        earlier::take_over();

        $this->assert_schema_clean();
        $this->assertSame('smtp', $DB->get_field('manireports_cloud_company_settings', 'provider', ['company_id' => 4]));
        $this->assertEquals(2, $DB->count_records('manireports_cloud_company_settings'));
        $this->assertEquals(6, $DB->count_records('manireports_cloud_recipients'));
    }

    /**
     * Without a key of the site, and none may be made, keys are removed rather than kept in clear.
     */
    public function test_keys_that_cannot_be_encrypted(): void {
        global $CFG, $DB;
        self::earlier_tables(self::EARLIER);
        $this->fill();
        $CFG->nokeygeneration = true;
        $CFG->secretdataroot = make_request_directory();

        $notices = earlier::take_over();

        $this->assertCount(2, $notices);
        $this->assertNull($DB->get_field('manireports_cloud_company_settings', 'aws_secret_key', ['company_id' => 4]));
    }
}
