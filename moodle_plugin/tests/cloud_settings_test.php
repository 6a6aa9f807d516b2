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

use local_manireports\cloud\access;
use local_manireports\cloud\company_settings;
use local_manireports\cloud\send_window;
use local_manireports\cloud\settings_requests;
use local_manireports\cloud\settings_rules;
use local_manireports\external\cloud_settings_answer;
use local_manireports\external\cloud_settings_ask;

defined('MOODLE_INTERNAL') || die();

require_once(__DIR__ . '/cloud_companies.php');

/**
 * Settings of companies: rules, inheritance, secrets, keys, isolation.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 * @covers    \local_manireports\cloud\company_settings
 * @covers    \local_manireports\cloud\settings_rules
 * @covers    \local_manireports\cloud\settings_requests
 * @covers    \local_manireports\cloud\send_window
 */
final class cloud_settings_test extends \advanced_testcase {
    use cloud_companies;

    protected function setUp(): void {
        parent::setUp();
        $this->resetAfterTest();
        $this->setAdminUser();
        if (!\core\encryption::key_exists()) {
            \core\encryption::create_key();
        }
    }

    /**
     * Says that a sidecar leads this site.
     */
    private function sidecar_lives(): void {
        global $DB;
        $DB->delete_records('manireports_cloud_sidecar');
        $DB->insert_record('manireports_cloud_sidecar', (object)[
            'site_uid' => str_repeat('a', 32), 'lease_token' => 'x', 'lease_expires' => time() + 30, 'last_seen' => time(),
        ]);
    }

    /**
     * What is saved is stored, only what changed is told, and never a secret.
     */
    public function test_save(): void {
        global $DB;
        $sink = $this->redirectEvents();
        $data = [
            'enabled' => 1, 'provider' => 'smtp', 'bulk_threshold' => '5', 'max_send_rate' => '0', 'aws_secret_key' => '',
            'sender_name' => ' Training ', 'aws_access_key' => 'AKIATEST',
        ];
        $changed = company_settings::save(0, settings_rules::values($data));
        sort($changed);
        $this->assertSame(
            ['aws_access_key', 'bulk_threshold', 'enabled', 'max_send_rate', 'provider', 'sender_name'],
            $changed
        );
        $row = $DB->get_record(company_settings::TABLE, ['company_id' => 0]);
        $this->assertSame(['1', 'smtp', '5', '0', 'Training'], [
            $row->enabled, $row->provider, $row->bulk_threshold, $row->max_send_rate, $row->sender_name,
        ]);
        $this->assertNull($row->daily_quota);
        $this->assertStringNotContainsString('AKIATEST', $row->aws_access_key);
        $this->assertSame('AKIATEST', \core\encryption::decrypt($row->aws_access_key));
        $events = $sink->get_events();
        $this->assertCount(1, $events);
        $this->assertStringNotContainsString('AKIATEST', json_encode($events[0]->get_data()));
        $this->assertSame(0, $events[0]->other['companyid']);
        // The same again changes nothing; an empty secret keeps the stored one.
        unset($data['aws_access_key']);
        $this->assertSame([], company_settings::save(0, settings_rules::values($data)));
        $this->assertCount(1, $sink->get_events());
        $this->assertSame(
            ['aws_access_key'],
            company_settings::save(0, settings_rules::values($data + ['aws_access_key_remove' => 1]))
        );
        $this->assertNull($DB->get_field(company_settings::TABLE, 'aws_access_key', ['company_id' => 0]));
    }

    /**
     * What a company does not set comes from company 0; enabled and paused do not, nor what goes with another key.
     */
    public function test_inheritance(): void {
        company_settings::save(0, [
            'enabled' => 1, 'provider' => 'aws', 'bulk_threshold' => 20, 'aws_access_key' => 'AKIA', 'aws_secret_key' => 'secret',
            'sender_name' => 'Site',
        ]);
        $will = company_settings::effective(7);
        $this->assertEquals(0, $will->enabled);
        $this->assertSame(['aws', 'Site'], [$will->provider, $will->sender_name]);
        $this->assertEquals(20, $will->bulk_threshold);
        $this->assertNotEmpty($will->aws_secret_key);
        $this->assertSame('', company_settings::effective(7, ['aws_access_key' => 'AKIAOWN'])->aws_secret_key);
        company_settings::save(7, ['bulk_threshold' => 0, 'sender_name' => '']);
        $will = company_settings::effective(7);
        $this->assertEquals(0, $will->bulk_threshold);
        $this->assertSame('Site', $will->sender_name);
    }

    /**
     * A new key keeps the one before for a day, and one before that no longer.
     */
    public function test_callback_key(): void {
        [$first, $secret] = company_settings::new_callback_key(0);
        $row = company_settings::own(0);
        $this->assertSame($first, $row->callback_key);
        $this->assertSame($secret, \core\encryption::decrypt($row->callback_secret));
        $this->assertMatchesRegularExpression('/^[0-9a-f]{64}$/', $secret);
        $this->assertNull($row->callback_key_old);
        [$second] = company_settings::new_callback_key(0);
        [$third] = company_settings::new_callback_key(0);
        $row = company_settings::own(0);
        $this->assertSame([$third, $second], [$row->callback_key, $row->callback_key_old]);
        $this->assertEqualsWithDelta(time() + DAYSECS, $row->callback_old_until, 5);
        $this->assertNotSame($first, $second);
    }

    /**
     * Pausing holds even while no sidecar is there, and asks it to take back what providers have.
     */
    public function test_pause(): void {
        global $DB;
        $id = company_settings::pause(0, true);
        $this->assertEquals(1, company_settings::own(0)->paused);
        $request = $DB->get_record('manireports_cloud_requests', ['id' => $id]);
        $this->assertSame('pause', $request->action);
        $this->assertSame(['what' => 'company', 'id' => 0], json_decode($request->params, true));
        company_settings::pause(0, false);
        $this->assertEquals(0, company_settings::own(0)->paused);
    }

    /**
     * Values and what is wrong with them.
     *
     * @return array[]
     */
    public static function values_provider(): array {
        return [
            ['provider', 'pigeon', false], ['provider', 'cloudflare', true],
            ['bulk_threshold', '0', false], ['bulk_threshold', '1', true], ['bulk_threshold', '-5', false],
            ['bulk_threshold', '1e3', false], ['max_send_rate', '0', true], ['max_send_rate', '9999999999999', false],
            ['daily_quota', 'many', false],
            ['fallback', 'hold', true], ['fallback', 'drop', false], ['manager_copies', 'some', false],
            ['aws_region', 'eu-west-1', true], ['aws_region', 'Europe', false],
            ['sqs_queue_url', 'https://sqs.eu-west-1.amazonaws.com/123456789012/jobs', true],
            ['sqs_queue_url', 'http://127.0.0.1:9324/jobs', true], ['sqs_queue_url', 'javascript:alert(1)', false],
            ['sqs_queue_url', 'https://user@host/x', false], ['sqs_queue_url', str_repeat('h', 256), false],
            ['ses_sender_email', 'a@b.example', true], ['ses_sender_email', "a@b.example\nBcc: c@d.example", false],
            ['sender_name', "Anna\nBcc: x", false], ['sender_name', 'Læring & Søn', true],
            ['aws_secret_key', 'a b c d', false], ['cloudflare_account_id', 'xyz', false],
            ['send_window', 'mon-fri 08:00-18:00 Europe/Berlin', true], ['send_window', 'always', true],
        ];
    }

    /**
     * Each value is judged as the sidecar judges it.
     *
     * @dataProvider values_provider
     * @param string $column
     * @param string $value
     * @param bool $good
     */
    public function test_rules(string $column, string $value, bool $good): void {
        $complaints = settings_rules::complaints(0, [$column => $value], true);
        $this->assertSame($good, !isset($complaints[$column]), json_encode($complaints));
    }

    /**
     * Who has no right beyond a company lets the sidecar call nobody but Amazon.
     */
    public function test_foreign_queue(): void {
        $data = ['sqs_queue_url' => 'http://169.254.169.254/latest'];
        $this->assertArrayHasKey('sqs_queue_url', settings_rules::complaints(7, $data, false));
        $this->assertArrayNotHasKey('sqs_queue_url', settings_rules::complaints(7, $data, true));
    }

    /**
     * What is enabled has to be complete, what is not may be written bit by bit.
     */
    public function test_complete(): void {
        $data = ['provider' => 'aws', 'aws_region' => 'eu-west-1'];
        $this->assertSame([], settings_rules::complaints(0, $data, true));
        $missing = settings_rules::complaints(0, $data + ['enabled' => 1], true);
        $this->assertSame(['aws_access_key', 'aws_secret_key', 'sqs_queue_url'], array_keys($missing));
        $this->assertSame(
            ['aws_secret_key'],
            array_keys(settings_rules::complaints(0, ['aws_access_key' => 'AKIAXXXX'], true))
        );
    }

    /**
     * Windows, as the sidecar's own tests have them.
     */
    public function test_send_window(): void {
        $good = [
            '08:00-18:00 Europe/Berlin', 'mon-fri 07:00-12:00, sat 22:00-02:00 Europe/London', 'fri-mon 0:00-24:00 UTC', '',
            'Mon-Fri 08:00 - 18:00 Europe/Berlin',
        ];
        foreach ($good as $text) {
            $this->assertSame('', send_window::complaint($text), $text);
        }
        $bad = [
            '08:00-18:00', '08:00-18:00 Berlin', '8-18 UTC', 'mo-fr 08:00-18:00 UTC', 'foo 08:00-18:00 UTC', '25:00-26:00 UTC',
            '08:60-09:00 UTC', 'UTC', '08:00-18:00, UTC',
        ];
        foreach ($bad as $text) {
            $this->assertNotSame('', send_window::complaint($text), $text);
        }
    }

    /**
     * A question is asked while a sidecar is there, once, and its answer becomes words.
     */
    public function test_questions(): void {
        global $DB, $USER;
        $this->assertSame(0, cloud_settings_ask::execute(0, 'test_connection')['request']);
        $this->sidecar_lives();
        $id = cloud_settings_ask::execute(0, 'test_connection')['request'];
        $this->assertSame($id, cloud_settings_ask::execute(0, 'test_connection')['request']);
        $this->assertTrue(cloud_settings_answer::execute($id)['waiting']);
        $DB->update_record('manireports_cloud_requests', (object)['id' => $id, 'status' => 'done', 'answer' => json_encode(
            ['ok' => false, 'steps' => [['name' => 'settings', 'ok' => true, 'detail' => 'fine'],
            ['name' => 'provider', 'ok' => false, 'detail' => '<b>refused</b>']]]
        )]);
        $answer = cloud_settings_answer::execute($id);
        $this->assertFalse($answer['waiting']);
        $this->assertStringContainsString('&lt;b&gt;refused', $answer['html']);
        $mail = cloud_settings_ask::execute(0, 'test_mail')['request'];
        $params = json_decode($DB->get_field('manireports_cloud_requests', 'params', ['id' => $mail]), true);
        $this->assertSame(['company' => 0, 'user' => (int)$USER->id], $params);
        $this->setUser($this->getDataGenerator()->create_user());
        $this->expectException(\moodle_exception::class);
        cloud_settings_answer::execute($id);
    }

    /**
     * What would be claimed, in words; reasons that we do not know are shown as they are.
     */
    public function test_observed(): void {
        $said = json_decode(json_encode([
            'blocked' => ['cron is off'],
            'groups' => [['type' => 'csv_import', 'waiting' => 1200, 'claimable' => 0, 'mails' => 2400, 'sample' => 'Hi',
                'left' => ['company_not_enabled' => 1200, 'some_new_reason' => 1, 'AWS: no jobs queue is set' => 2]]],
        ]));
        $answer = settings_requests::answer((object)['status' => 'done', 'action' => 'observe', 'answer' => $said]);
        $this->assertSame(['cron is off'], $answer['blocked']);
        $this->assertSame('1,200', $answer['groups'][0]['waiting']);
        $this->assertFalse($answer['groups'][0]['bulk']);
        $why = array_column($answer['groups'][0]['left'], 'why');
        $this->assertStringContainsString('not taken over', $why[0]);
        $this->assertSame(['some new reason', 'AWS: no jobs queue is set'], array_slice($why, 1));
    }

    /**
     * A company manager configures the own company and no other.
     */
    public function test_isolation(): void {
        $acme = $this->company('acme');
        $globex = $this->company('globex');
        $this->sidecar_lives();
        $this->setUser($acme->manager);
        $this->assertTrue(access::can(access::CONFIGURE, $acme->id));
        $this->assertNotSame(0, cloud_settings_ask::execute($acme->id, 'observe')['request']);
        foreach ([$globex->id, 0, 99999] as $other) {
            try {
                cloud_settings_ask::execute($other, 'observe');
                $this->fail("company $other");
            } catch (\required_capability_exception $error) {
                $this->assertSame('nopermissions', $error->errorcode);
            }
        }
    }
}
